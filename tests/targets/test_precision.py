"""A teacher in bfloat16 is the teacher, or it is asked in float32."""

import warnings

import pytest
import torch
from torch import nn

import asking
import drkd
from drkd import Frozen, InputError
from drkd.data.loader import Loader
from drkd.targets.precision import Tolerance

INPUTS = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))


def ask(target, inputs=INPUTS):
    return asking.ask(target, torch.zeros(len(inputs), 3), torch.zeros(len(inputs), dtype=torch.long), inputs)[0]


def linear():
    torch.manual_seed(1)
    return nn.Linear(6, 3)


class Cancelling(nn.Module):
    """Its answers are small differences of numbers as large as its inputs."""

    def __init__(self):
        super().__init__()
        self.layer = linear()
        nn.init.eye_(self.layer.weight)

    def forward(self, inputs):
        return self.layer(inputs) - inputs[:, :3]


def test_a_teacher_in_bfloat16_answers_as_under_autocast():
    network = linear()
    target = Frozen(network, precision="bfloat16")
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        expected = network(INPUTS)
    assert expected.dtype == torch.bfloat16
    assert torch.equal(ask(target).float(), expected.float())
    assert not torch.equal(ask(target).float(), ask(Frozen(network)))
    assert target.precision == "bfloat16"


def test_a_teacher_in_float32_does_so_in_a_training_in_bfloat16():
    network = linear()
    with torch.autocast("cpu", torch.bfloat16):
        exact, as_training = ask(Frozen(network, precision="float32")), ask(Frozen(network))
    assert torch.equal(exact, ask(Frozen(network)))
    assert as_training.dtype == torch.bfloat16


def test_a_teacher_whose_answers_would_change_is_asked_in_float32():
    network = Cancelling()
    target = Frozen(network, precision="bfloat16")
    with pytest.warns(UserWarning, match=r"Cancelling runs in float32, because in bfloat16 a logit would change by"):
        answers = ask(target, 1000 * INPUTS)
    assert target.precision == "float32"
    assert torch.equal(answers, ask(Frozen(network), 1000 * INPUTS))


def test_what_counts_as_the_same_answers():
    exact = torch.tensor([[4.0, 0.0], [1.0, 0.9], [0.0, 2.0], [3.0, 1.0]])
    flipped = exact.clone()
    flipped[1, 1] = 1.1  # by 0.2, a twentieth of the largest logit, and one of four rows changes its class
    assert Tolerance(deviation=0.06, agreement=0.75).broken_by(exact, flipped) is None
    assert "change by 0.05 of" in Tolerance(deviation=0.04, agreement=0.75).broken_by(exact, flipped)
    assert "75.0% of the rows" in Tolerance(deviation=0.06, agreement=0.76).broken_by(exact, flipped)
    assert "not be finite" in Tolerance(1.0, 0.0).broken_by(exact, flipped / 0)


def test_the_choice_goes_by_the_first_samples_and_not_by_where_a_training_resumes():
    network = Cancelling()
    target = Frozen(network, precision="bfloat16", kept_within=Tolerance(deviation=0.5, agreement=0.0))
    labels = torch.arange(64) % 3
    for scale, expected in ((0.0, "bfloat16"), (1000.0, "float32"), (0.0, "bfloat16")):
        data = drkd.from_tensors((scale * INPUTS, labels), (INPUTS, labels), classes=("a", "b", "c"))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            target.prepare(Loader(data, data.train, batch_size=16, training=False))
            ask(target, 1000 * INPUTS)
        assert target.precision == expected
        assert len(caught) == (expected == "float32")


def test_what_is_no_network_is_asked_as_it_is():
    target = Frozen(lambda inputs: inputs[:, :3], precision="bfloat16")
    assert target.precision is None
    assert torch.equal(ask(target), INPUTS[:, :3])


def test_a_precision_is_one_of_two_and_needs_a_tensor():
    with pytest.raises(InputError, match="precision"):
        Frozen(linear(), precision="float16")
    with pytest.raises(InputError, match="needs a tensor of inputs, got list"):
        Frozen(linear(), precision="float32").answer([INPUTS])
