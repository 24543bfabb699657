import numpy as np
import pytest
import torch

import drkd
from oracles import public_code

CLASSES = (2, 3, 10, 100, 200, 1000)


def case(k, n=6):
    rng = np.random.default_rng(k)
    z, v = 3 * rng.normal(size=(2, n, k))
    return z, v, rng.integers(0, k, n)


def both(name, k):
    """(ours, by hand), each as (loss, gradient)."""
    z, v, y = case(k)
    teacher = lambda inputs: torch.tensor(v)
    reference = {"convention": "reference", "multiplier": 50.0}
    ours, by_hand = {
        "kd": (drkd.kd(teacher, 0.6, 20.0, convention="reference"), public_code.kd(z, v, y, 0.6, 20.0)),
        "tf_kd_self": (drkd.tf_kd_self(teacher, 0.95, 6.0, **reference), public_code.kd(z, v, y, 0.95, 6.0, 50.0)),
        "tf_kd_reg": (drkd.tf_kd_reg(0.99, 0.1, 20.0, **reference), public_code.tf_kd_reg(z, y, 0.1, 20.0, 50.0)),
        "dr_kd": (drkd.dr_kd(teacher, 0.95, 6.0, **reference), public_code.dr_kd(z, v, y, 0.95, 6.0, 50.0)),
        "label_smoothing": (
            drkd.label_smoothing(0.1, convention="reference"),
            public_code.label_smoothing(z, y, 0.1),
        ),
    }[name]
    logits = torch.tensor(z, requires_grad=True)
    loss = ours(logits, torch.tensor(y), inputs=torch.zeros(len(y), 1))["loss"]
    loss.backward()
    return (loss.item(), logits.grad.numpy()), by_hand


def relative_errors(name, k):
    (loss, grad), (loss_by_hand, grad_by_hand) = both(name, k)
    return abs(loss / loss_by_hand - 1), np.abs(grad - grad_by_hand).max() / np.abs(grad_by_hand).max()


METHODS = ("kd", "tf_kd_self", "tf_kd_reg", "dr_kd", "label_smoothing")


@pytest.mark.parametrize("k", CLASSES)
@pytest.mark.parametrize("name", METHODS)
def test_loss_and_gradient_equal_the_public_code(name, k):
    loss_error, gradient_error = relative_errors(name, k)
    assert loss_error < 1e-6
    assert gradient_error < 1e-6


@pytest.mark.parametrize(
    ("k", "alpha", "temperature", "multiplier", "scale", "epsilon"),
    [(100, 0.95, 40.0, 1.0, 0.0595, 0.1596), (100, 0.1, 20.0, 100.0, 1.0, 0.09995), (10, 0.1, 20.0, 100.0, 1.9, 0.524)],
)
def test_public_tf_kd_reg_is_scaled_label_smoothing(k, alpha, temperature, multiplier, scale, epsilon):
    """The published settings, rewritten: s * CE with label smoothing e in PyTorch's convention."""
    z, _, y = case(k)
    gradients = []
    for loss_of in (
        lambda logits: drkd.tf_kd_reg(0.99, alpha, temperature, convention="reference", multiplier=multiplier)(
            logits, torch.tensor(y)
        )["loss"],
        lambda logits: scale * torch.nn.functional.cross_entropy(logits, torch.tensor(y), label_smoothing=epsilon),
    ):
        logits = torch.tensor(z, requires_grad=True)
        loss_of(logits).backward()
        gradients.append(logits.grad)
    assert torch.allclose(*gradients, rtol=0, atol=2e-3 * gradients[0].abs().max().item())


def test_multiplier_without_the_reference_convention_is_an_error():
    with pytest.raises(drkd.InputError, match="multiplier needs convention"):
        drkd.tf_kd_reg(multiplier=50.0)


def test_unknown_convention_is_an_error():
    with pytest.raises(drkd.InputError, match="batchmean or reference"):
        drkd.kd(lambda inputs: inputs, convention="mean")


def test_label_smoothing_that_rules_the_label_out_is_an_error():
    """With no weight on the label the virtual teacher has no finite logits; with none on the others it is the label."""
    with pytest.raises(drkd.InputError, match='epsilon must be below 1 with convention="reference", got 1'):
        drkd.label_smoothing(1.0, convention="reference")
    z, _, y = case(5)
    for epsilon in (0.0, 0.999):
        ours = drkd.label_smoothing(epsilon, convention="reference")(torch.tensor(z), torch.tensor(y))["loss"]
        assert ours.item() == pytest.approx(public_code.label_smoothing(z, y, epsilon)[0], rel=1e-6)
