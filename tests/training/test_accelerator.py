"""An accelerator is not waited for: neither a step nor a batch reads a number from it, copies to it run on their own.

On the `meta` device, which every code path for accelerators takes for one: it has shapes and no numbers, so reading one
is an error. Whether a GPU agrees is asked in test_on_gpu.py.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import drkd
from drkd.config import FitSettings
from drkd.data.loader import Loader
from drkd.data.mixing import Mixing
from drkd.methods.registry import create
from drkd.training import fit, optimizer
from drkd.training.step import CHECK_EVERY
from drkd.training.sums import WAITING

META = torch.device("meta")
METHODS = (
    "cross_entropy",
    "label_smoothing",
    "dr_kd",
    "ps_kd",
    "online_dr_kd",
    "ols",
    "cs_kd",
    "dlb",
)
AUGMENTED = {"augment": "cifar+erasing"}, {"augment": "cifar", "mixup": 0.2, "cutmix": 1.0}


class Waits(TorchDispatchMode):
    """Notes copies from the processor that the caller waits for; scalars, which travel with a kernel, aside."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.name()
        if name.startswith(("aten::_to_copy", "aten::copy_")) and result.device == META:
            source = args[1] if "copy_" in name and "_to_copy" not in name else args[0]
            waited = not (kwargs or {}).get("non_blocking", len(args) > 2 and args[2])
            if source.device.type == "cpu" and source.dim() and waited:
                self.found.append((name, tuple(source.shape)))
        return result


@pytest.fixture
def on_meta(monkeypatch):
    monkeypatch.setattr(fit, "choose_device", lambda _: META)
    monkeypatch.setattr(optimizer, "FUSED", optimizer.FUSED | {"meta"})


def network():
    return drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)


def data_with(**options):
    return drkd.load_data("digits", limit_train=60, **options)


@pytest.mark.parametrize("method", METHODS)
def test_no_step_reads_from_the_device(method, on_meta):
    data, student = data_with(augment="cifar"), network()
    teacher = {"teacher": lambda inputs: torch.zeros(len(inputs), 10, device=inputs.device)}
    objective = create(method, {}, student=student, epochs=2, **(teacher if method == "dr_kd" else {}))
    stepper = fit.assemble(student, objective, data, FitSettings(batch_size=20))
    stepper.state.optimizer.step = lambda: None  # torch has no fused one for this device
    stepper.begin(0)
    assert 0 < CHECK_EVERY - 1 < WAITING
    steps = 0
    with Waits() as waits:
        for batch in stepper.learner.loader.batches(0, start=0):
            steps += 1
            stepper.state.result.step = steps  # none that is a multiple of `CHECK_EVERY`
            assert stepper.step(batch)
            objective.update(progress=steps / 6, epoch=0)
    assert steps == 3
    assert not waits.found


@pytest.mark.parametrize("options", AUGMENTED)
@pytest.mark.parametrize("needs", [frozenset(), frozenset({"pairs"}), frozenset({"replay"})])
def test_no_batch_waits_for_its_copies(options, needs):
    mixing = {name: options[name] for name in ("mixup", "cutmix") if name in options}
    data = data_with(augment=options["augment"])
    loader = Loader(data, data.train, batch_size=20, training=True, needs=needs, device=META)
    _ = loader._labels  # moves once
    if mixing and not needs:
        loader.mixing = Mixing(**mixing, prob=0.5)
    with Waits() as waits:
        batches = list(loader._batches(0, 0))
    assert len(batches) == 3
    assert all(batch.inputs.device == META for batch in batches)
    assert not waits.found


def test_the_watch_sees_a_copy_that_is_waited_for():
    with Waits() as waits:
        torch.ones(3).to(META)
        torch.ones(3).to(META, non_blocking=True)
        torch.empty(3, device=META).copy_(torch.ones(3))
    assert [shape for _, shape in waits.found] == [(3,), (3,)]


def test_an_optimizer_that_cannot_skip_a_step_is_asked_at_once(monkeypatch):
    """Without fused kernels the guard reads the numbers itself, before the update."""
    monkeypatch.setattr(fit, "choose_device", lambda _: META)
    stepper = fit.assemble(network(), drkd.cross_entropy(), data_with(), FitSettings(batch_size=20))
    assert not stepper.guard.deferred
    with pytest.raises(RuntimeError, match="meta"):
        stepper.step(next(iter(stepper.learner.loader.batches(0, start=0))))
