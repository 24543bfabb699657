"""What a training promises on an accelerator: run on the processor everywhere, and on a GPU where there is one.

`pytest -m gpu` runs those of the GPU alone.
"""

import math
import os
import warnings

import pytest
import torch
from torch import nn

import drkd
from drkd import NonFiniteLossError
from drkd.config import FitSettings
from drkd.data.loader import Loader
from drkd.methods.registry import create
from drkd.training.checkpoint import TrainState
from drkd.training.fit import assemble
from drkd.training.optimizer import make_optimizer
from drkd.training.step import CHECK_EVERY, NonFiniteGuard
from drkd.utils.device import send, set_up_process, this_device
from on_devices import ON_EVERY_DEVICE

SMALL = {"epochs": 3, "batch_size": 50}


@pytest.fixture(scope="module")
def data():
    return drkd.load_data("digits", limit_train=100)


@pytest.fixture
def reproducible():
    """The same algorithms every time on a GPU too."""
    set_up_process(1, deterministic=True)
    yield
    torch.use_deterministic_algorithms(False)
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def network(name="mlp", seed=0):
    torch.manual_seed(seed)
    return drkd.create_model(name, num_classes=10, image_size=8, channels=1)


def weights(module):
    return torch.cat([value.flatten().double().cpu() for value in module.state_dict().values()])


def guarded(net, device):
    """A fused optimizer, and the guard as it is on an accelerator: it does not read the device."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, fused=True)
    state = TrainState(net, drkd.cross_entropy(), optimizer, torch.amp.GradScaler(device, enabled=False))
    guard = NonFiniteGuard(state, torch.device(device))
    assert guard.deferred == (device != "cpu")
    guard.deferred = True
    return state, guard


@ON_EVERY_DEVICE
@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_a_bad_step_can_be_cancelled_without_asking_the_device(bad, device):
    """What happens on an accelerator: the fused optimizer skips the step, the report comes later."""
    net = nn.Linear(2, 2).to(device)
    state, guard = guarded(net, device)
    before, one = weights(net), torch.ones(1, 2, device=device)
    loss = net(one * math.inf).sum() * 0 if bad == "loss" else (net(one) * 0).sqrt().sum()
    assert loss.isfinite() == (bad == "gradient")
    state.result.step = 7
    with guard:
        loss.backward()
    guard.check(loss.detach(), list(net.parameters()))
    state.optimizer.step()
    assert torch.equal(weights(net), before)
    with pytest.raises(NonFiniteLossError, match="step 7: the loss of `cross_entropy`"):
        guard.report()


@ON_EVERY_DEVICE
def test_a_good_step_is_made_under_the_same_guard(device):
    net = nn.Linear(2, 2).to(device)
    state, guard = guarded(net, device)
    before = weights(net)
    loss = net(torch.ones(1, 2, device=device)).sum()
    loss.backward()
    guard.check(loss.detach(), list(net.parameters()))
    state.optimizer.step()
    guard.report()
    assert not torch.equal(weights(net), before)


@ON_EVERY_DEVICE
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_fused_optimizer_makes_the_plain_ones_steps(name, device):
    settings = FitSettings(optimizer=name, lr=0.05, weight_decay=0.01)
    ours, theirs = network().to(device), network().to(device)
    fused = make_optimizer(ours, settings)
    assert fused.defaults["fused"]
    kind, momentum = type(fused), {"momentum": settings.momentum} if name == "sgd" else {}
    plain = kind(theirs.parameters(), lr=0.05, weight_decay=0.01, foreach=False, **momentum)
    inputs, labels = torch.randn(20, 1, 8, 8).to(device), torch.arange(20, device=device) % 10
    for _ in range(3):
        for net, optimizer in ((ours, fused), (theirs, plain)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs), labels).backward()
            optimizer.step()
    assert torch.allclose(weights(ours), weights(theirs), atol=1e-6)
    assert not torch.allclose(weights(ours), weights(network()), atol=1e-3)


@ON_EVERY_DEVICE
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_follows_float32(data, precision, device):
    options = {**SMALL, "device": device}
    exact = drkd.fit(network(), drkd.dr_kd(network(seed=1)), data, **options).history
    rough = drkd.fit(network(), drkd.dr_kd(network(seed=1)), data, **options, precision=precision).history
    assert [row["loss"] for row in rough] == pytest.approx([row["loss"] for row in exact], rel=0.05)
    assert rough != exact


@ON_EVERY_DEVICE
def test_a_gradient_that_overflows_skips_its_step_and_halves_the_scale(data, device):
    student, objective = network(), drkd.ps_kd(0.5)
    stepper = assemble(student, objective, data, FitSettings(**SMALL, device=device, precision="float16"))
    scaler = stepper.state.scaler = torch.amp.GradScaler(device, init_scale=2.0**40)
    stepper.begin(0)
    batch, before = next(iter(stepper.learner.loader.batches(0, start=0))), None
    for _ in range(60):
        before = weights(student)
        if stepper.step(batch):
            break
        assert torch.equal(weights(student), before)
    assert scaler.get_scale() < 2.0**40
    assert not torch.equal(weights(student), before)


@ON_EVERY_DEVICE
def test_a_training_resumes_to_the_bit(data, tmp_path, device, reproducible):
    class PowerCutError(Exception):
        pass

    def cut(row):
        if row["epoch"] == 0:
            raise PowerCutError

    def start(out, on_epoch=None):
        student = network("small_cnn")
        objective = drkd.online_dr_kd()
        options = {"epochs": 2, "batch_size": 50, "out": out, "checkpoint_every": 1, "device": device}
        done = drkd.fit(student, objective, data, **options, resume=True, on_epoch=on_epoch)
        return weights(student), done.history

    whole, again = start(tmp_path / "whole"), start(tmp_path / "again")
    assert torch.equal(again[0], whole[0])
    assert again[1] == whole[1]
    with pytest.raises(PowerCutError):
        start(tmp_path / "cut", cut)
    resumed = start(tmp_path / "cut")
    assert torch.equal(resumed[0], whole[0])
    assert resumed[1] == whole[1]


@pytest.mark.gpu
@pytest.mark.parametrize("resident", [True, False])
def test_batches_on_a_gpu_are_those_of_the_processor(resident, monkeypatch):
    """Whether all images lie on the GPU, or each batch is copied there through pinned memory."""
    if not resident:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    data = drkd.load_data("digits", limit_train=120, augment="crop_flip")
    here, there = (Loader(data, data.train, batch_size=50, training=True, device=device) for device in ("cpu", "cuda"))
    assert (there._inputs.device.type == "cuda") == resident
    for ours, theirs in zip(there.batches(1), here.batches(1), strict=True):
        assert ours.inputs.device == this_device("cuda")
        assert torch.allclose(ours.inputs.cpu(), theirs.inputs, atol=1e-6)
        assert torch.equal(ours.labels.cpu(), theirs.labels)
        assert torch.equal(ours.index.cpu(), theirs.index)
    assert torch.equal(send(torch.arange(5), torch.device("cuda")).cpu(), torch.arange(5))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["cross_entropy", "dr_kd", "ps_kd", "online_dr_kd", "label_smoothing"])
def test_no_step_waits_for_the_gpu(method, precision):
    data = drkd.load_data("digits", augment="cifar")
    student = network("small_cnn")
    objective = create(method, {}, teacher=network("small_cnn", seed=1), student=student, epochs=2)
    settings = FitSettings(batch_size=50, device="cuda", precision=precision)
    stepper = assemble(student, objective, data, settings)
    batches = iter(stepper.learner.loader.batches(0, start=0))
    stepper.begin(0)
    for step, batch in zip(range(CHECK_EVERY), batches, strict=False):
        stepper.state.result.step = step
        if step == 2:  # cuDNN has chosen its algorithms, tables have their sizes
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the mode is a prototype
                torch.cuda.set_sync_debug_mode("error")
        stepper.step(batch)
        objective.update(progress=0.1, epoch=0)
    torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(autouse=True)
def _no_watch_is_left():
    yield
    if torch.cuda.is_available():
        torch.cuda.set_sync_debug_mode("default")
