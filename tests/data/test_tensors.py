"""Tables and text: what is no image goes through the same loop, untouched."""

import importlib.util
from pathlib import Path

import pytest
import torch

import drkd
from drkd import InputError
from drkd.data.loader import Loader

EXAMPLES = Path(__file__).parents[2] / "examples"


def table(count=30, columns=4):
    return torch.randn(count, columns), torch.arange(count) % 3


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_arrays_are_refused_with_what_to_do():
    rows, labels = torch.randn(20, 3), torch.arange(20) % 2
    for train in ((rows.numpy(), labels), (rows, labels.numpy()), (rows, labels.tolist()), (rows,)):
        with pytest.raises(InputError, match=r"the train rows must be two tensors, .*; pass torch.as_tensor of arrays"):
            drkd.from_tensors(train, (rows, labels))
    with pytest.raises(InputError, match=r"validation must lie in \[0, 1\], got 1.5"):
        drkd.from_tensors((rows, labels), (rows, labels), validation=1.5)


def test_rows_with_a_gradient_and_of_any_float_are_known_by_their_content():
    rows, labels = torch.randn(20, 5), torch.arange(20) % 2
    known = drkd.from_tensors((rows, labels), (rows, labels)).record.fingerprint
    asked = rows.clone().requires_grad_()
    data = drkd.from_tensors((asked, labels), (asked, labels))
    assert data.record.fingerprint == known
    assert not data.train.inputs.requires_grad
    rows = rows.bfloat16()
    known = drkd.from_tensors((rows, labels), (rows, labels)).record.fingerprint
    assert known != drkd.from_tensors((rows + 1, labels), (rows + 1, labels)).record.fingerprint


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool])
def test_rows_are_served_as_they_are(kind):
    rows, labels = (torch.randn(20, 5) * 3).to(kind), torch.arange(20) % 2
    data = drkd.from_tensors((rows, labels), (rows[:4], labels[:4]), validation=0)
    loader = Loader(data, data.train, batch_size=6, training=True, seed=3, needs=frozenset({"pairs", "replay"}))
    batches = list(loader.batches(1))
    assert {int(i) for batch in batches for i in batch.index} == set(range(20))
    for batch in batches:
        assert batch.inputs.dtype == kind
        assert torch.equal(batch.inputs, rows[batch.index])


def test_fit_takes_the_steps_of_a_loop_on_the_same_rows():
    data = drkd.from_tensors(table(), table(6), validation=0)
    student = torch.nn.Linear(4, 3, dtype=torch.float32)
    ours = torch.nn.Linear(4, 3)
    ours.load_state_dict(student.state_dict())
    settings = {"epochs": 2, "batch_size": 10, "lr": 0.1, "schedule": "constant", "seed": 5}
    drkd.fit(student, drkd.ps_kd(), data, momentum=0.0, weight_decay=0.0, **settings)
    objective, optimizer, steps = drkd.ps_kd(), torch.optim.SGD(ours.parameters(), lr=0.1), 0
    for epoch in range(2):
        for batch in Loader(data, data.train, batch_size=10, training=True, seed=5).batches(epoch):
            optimizer.zero_grad()
            objective(ours(batch.inputs), batch.labels, index=batch.index)["loss"].backward()
            optimizer.step()
            steps += 1
            objective.update(progress=steps / 6, epoch=steps // 3)
    for theirs, wanted in zip(student.parameters(), ours.parameters(), strict=True):
        assert torch.allclose(theirs, wanted, atol=1e-6)


def test_validation_is_held_out_by_the_seed_or_given():
    rows, labels = table()
    held = [drkd.from_tensors((rows, labels), table(6), seed=seed).val.inputs for seed in (0, 0, 1)]
    assert torch.equal(held[0], held[1])
    assert not torch.equal(held[0], held[2])
    given = drkd.from_tensors((rows, labels), table(6), val=table(9))
    assert (len(given.train), len(given.val), len(given.test)) == (30, 9, 6)


def test_what_cannot_be_trained_on_says_so():
    rows, labels = table()
    test = table(6)
    cases = [
        ((rows.to(torch.uint8), labels), test, "uint8, as images are"),
        ((rows, labels.float()), test, r"train labels must be integers \(30,\), got torch.float32"),
        ((rows, labels[:4]), test, r"must be integers \(30,\), got torch.int64 \(4,\)"),
        ((rows, labels), (test[0][:, :3], test[1]), r"the test inputs must be .*\(30, 4\)"),
        ((rows, labels), (test[0], test[1] + 1), "the test labels must be from 0 to 2, got 1 to 3"),
        ((rows, labels), (test[0][:0], test[1][:0]), "the test labels must be from 0 to 2, got none"),
        ((rows / 0, labels), test, "the train inputs hold NaN or infinite values; fill or drop them"),
    ]
    for train, other, message in cases:
        with pytest.raises(drkd.InputError, match=message):
            drkd.from_tensors(train, other)
    with pytest.raises(drkd.InputError, match="validation split"):
        drkd.from_tensors((rows[:3], labels[:3]), test)


def test_the_examples_run(capsys):
    result = example("table").main(epochs=4)
    assert result.student_test.accuracy > 0.85
    assert "rectified" in result.student_run.history[0]
    result = example("text").main(epochs=2, every=4)
    assert result.student_test.accuracy > 0.3  # four pages
    assert capsys.readouterr().out.count("student") == 2
