"""timm's train script, in short, against our own loop: the same loss and gradients on the same batches."""

import copy
import importlib.util
import sys
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2
from timm.optim.lookahead import Lookahead
from timm.task import resume_task_checkpoint
from timm.utils import CheckpointSaver, NativeScaler

import drkd
from drkd.integrations.timm import SelfDistillationTask

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS, BATCH = 12, 3


def network():
    return timm.create_model("test_resnet", num_classes=3, in_chans=1)


def small():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))


def batches(epoch):
    """The same in every process: an order for each epoch."""
    made = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(ROWS, 1, 8, 8, generator=made), torch.arange(ROWS) % 3
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(epoch + 1))
    return [(inputs[rows], labels[rows], rows) for rows in order.split(BATCH)]


def train(task, optimizer, epochs, *, start=0, saver=None, accumulation=1, total=None):
    """As timm's train script does it; the losses, and the gradients of every step."""
    task.follow(
        optimizer, epochs=total or epochs, updates_per_epoch=ROWS // BATCH // accumulation, accumulation=accumulation
    )
    losses, gradients = [], []
    for epoch in range(start, epochs):
        task.train()
        for number, (inputs, labels, index) in enumerate(batches(epoch)):
            if number % accumulation == 0:
                optimizer.zero_grad()
            made = task(inputs, labels, index)
            (made["loss"] / accumulation).backward()
            losses.append(made["loss"].detach())
            if (number + 1) % accumulation == 0:
                gradients.append([p.grad.clone() for p in task.get_clip_parameters()])
                optimizer.step()
        if saver is not None:
            saver.save_checkpoint(epoch)
    return losses, gradients


def our_loop(model, objective, optimizer, epochs, accumulation=1):
    losses, gradients, steps = [], [], 0
    model.train()
    for epoch in range(epochs):
        for number, (inputs, labels, index) in enumerate(batches(epoch)):
            if number % accumulation == 0:
                optimizer.zero_grad()
            made = objective(model(inputs), labels, inputs=inputs, index=index)
            (made["loss"] / accumulation).backward()
            losses.append(made["loss"].detach())
            if (number + 1) % accumulation == 0:
                gradients.append([p.grad.clone() for p in model.parameters()])
                optimizer.step()
                steps += 1
                whole = epochs * ROWS // BATCH // accumulation
                objective.update(progress=steps / whole, epoch=steps // (whole // epochs))
    return losses, gradients


def largest(first, second):
    return max((a - b).abs().max().item() for a, b in zip(first, second, strict=True))


METHODS = {
    "dr_kd": lambda student, teacher: drkd.dr_kd(teacher, alpha=0.5, temperature=2.0),
    "ema": lambda student, teacher: drkd.online_dr_kd(source=drkd.Ema(student)),
    "ps_kd": lambda student, teacher: drkd.ps_kd(),
    "max_sup": lambda student, teacher: drkd.max_sup(),
}


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_each_step_has_the_loss_and_gradients_of_our_own_loop(method, accumulation):
    model, teacher = network(), network()
    ours = copy.deepcopy(model)
    task = SelfDistillationTask(model, METHODS[method](model, teacher), verbose=False)
    optimizer = create_optimizer_v2(task.get_trainable_module(), opt="momentum", lr=0.05, momentum=0.9)
    losses, gradients = train(task, optimizer, 2, accumulation=accumulation)
    mine = torch.optim.SGD(ours.parameters(), lr=0.05, momentum=0.9)
    wanted = our_loop(ours, METHODS[method](ours, teacher), mine, 2, accumulation)
    off = max(largest(*pair) for pair in zip(gradients, wanted[1], strict=True))
    print(f"{method}: losses {largest(losses, wanted[0]):.0e}, gradients {off:.0e}")
    assert largest(losses, wanted[0]) < 1e-6
    assert off < 1e-6
    assert (task.objective.progress, task.objective.epoch) == (1.0, 2)


@pytest.mark.parametrize("method", METHODS)
def test_timms_checkpoints_hold_what_was_learned(tmp_path, method):
    teacher, start = small(), small()

    def made():
        model = copy.deepcopy(start)
        task = SelfDistillationTask(model, METHODS[method](model, teacher), verbose=False)
        return task, create_optimizer_v2(model, opt="momentum", lr=0.05, momentum=0.9)

    whole, optimizer = made()
    saver = CheckpointSaver(whole.get_trainable_module(), optimizer, checkpoint_dir=str(tmp_path), task=whole)
    train(whole, optimizer, 4, saver=saver)
    resumed, optimizer = made()
    start_epoch = resume_task_checkpoint(resumed, str(tmp_path / "checkpoint-1.pth.tar"), optimizer)
    assert start_epoch == 2
    train(resumed, optimizer, 4, start=start_epoch)
    assert largest(resumed.trainable_module.parameters(), whole.trainable_module.parameters()) == 0
    for name, value in whole.objective.state_dict().items():
        assert torch.equal(resumed.objective.state_dict()[name], value), name
    assert (resumed.objective.progress, resumed.objective.epoch) == (1.0, 4)


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_the_scaler_skips_is_forgotten(fused):
    """Finite logits whose scaled gradient overflows; a fused optimizer is called for that step, too."""
    model = small()
    task = SelfDistillationTask(model, drkd.online_dr_kd(), verbose=False)
    optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused), NativeScaler("cpu")
    task.follow(optimizer, epochs=2, updates_per_epoch=4)
    seen = []
    for number, (inputs, labels, index) in enumerate(batches(0)[:3]):
        optimizer.zero_grad()
        large = 1e38 if number == 0 else 1.0
        scaler(task(inputs, labels, index)["loss"] * large, optimizer)
        seen.append(set(task.objective.terms[1].target.target.seen.nonzero().flatten().tolist()))
    first, second, third = (set(batch[2].tolist()) for batch in batches(0)[:3])
    assert seen == [set(), second, second | third]
    assert not first & seen[-1]
    assert task.objective.progress == 3 / 8


def test_an_epoch_ends_though_its_last_step_was_skipped():
    """When the next batch comes, and when a checkpoint is written."""
    model = small()
    made = []
    for ending in ("batch", "checkpoint"):
        task = SelfDistillationTask(model, drkd.ols(), verbose=False)
        task.follow(torch.optim.SGD(model.parameters(), lr=0.1), epochs=2, updates_per_epoch=1)
        inputs, labels, index = batches(0)[0]
        task(inputs, labels, index)
        made.append(task.get_task_state() if ending == "checkpoint" else task(inputs, labels, index))
        assert (task.objective.progress, task.objective.epoch) == (0.5, 1)
        assert task.objective.terms[1].target.epochs.completed == 1
    assert made[1]["updates"] == 1


def test_without_gradients_the_loss_is_cross_entropy_and_nothing_is_learned():
    task = SelfDistillationTask(small(), drkd.online_dr_kd(), verbose=False)
    inputs, labels, _ = batches(0)[0]
    with torch.no_grad():
        made = task(inputs, labels)
    assert made["loss"].item() == pytest.approx(F.cross_entropy(made["output"], labels).item(), abs=1e-6)
    assert len(task.objective.terms[1].target.target.queue) == 0


def test_lookahead_is_followed_too():
    model = small()
    task = SelfDistillationTask(model, drkd.max_sup(), verbose=False)
    optimizer = Lookahead(torch.optim.SGD(model.parameters(), lr=0.1))
    train(task, optimizer, 2)
    assert task.objective.progress == 1.0


def test_the_teacher_moves_with_the_task_and_is_not_saved():
    task = SelfDistillationTask(small(), drkd.dr_kd(small()), verbose=False).to(torch.float64)
    assert task(torch.zeros(2, 1, 8, 8).double(), torch.tensor([0, 1]))["loss"].dtype == torch.float64
    assert task.get_task_state()["learned"] == {}
    assert task.get_task_state(ema=True) == {}
    assert set(task.get_checkpoint_state()["state_dict"]) == {"1.weight", "1.bias"}


def test_what_cannot_work_says_why_and_what_to_do(tmp_path):
    inputs, labels, _ = batches(0)[0]

    def task(objective):
        return SelfDistillationTask(small(), objective, verbose=False)

    with pytest.raises(drkd.InputError, match=r"`ps_kd` needs each sample's index.*Indexed`, and call the task with"):
        task(drkd.ps_kd())(inputs, labels)
    with pytest.raises(drkd.InputError, match=r"`max_sup` changes .* call task.follow\(optimizer"):
        task(drkd.max_sup())(inputs, labels)
    with pytest.raises(drkd.InputError, match="`cs_kd` needs pairs, which timm does not provide"):
        task(drkd.cs_kd())
    with pytest.raises(drkd.InputError, match="at least one epoch, update and batch, got 0, 4 and 1"):
        task(drkd.max_sup()).follow(torch.optim.SGD([torch.zeros(1)], lr=1), epochs=0, updates_per_epoch=4)
    with pytest.raises(drkd.InputError, match="the checkpoint does not hold what `max_sup` has learned"):
        task(drkd.max_sup()).load_checkpoint_state(small().state_dict())
    task(drkd.cross_entropy()).load_checkpoint_state(small().state_dict())
    state = task(drkd.dr_kd(small())).get_task_state()
    with pytest.raises(drkd.InputError, match="written with another teacher of `dr_kd`"):
        task(drkd.dr_kd(small())).load_task_state(state)


@pytest.mark.parametrize("broken", ["timm.task", "get_task_state"])
def test_without_timms_tasks_the_extra_is_named(monkeypatch, broken):
    if broken == "timm.task":
        monkeypatch.setitem(sys.modules, broken, None)
    else:
        monkeypatch.delattr(timm.task.TrainingTask, broken)
    spec = importlib.util.find_spec("drkd.integrations.timm")
    with pytest.raises(ImportError, match=r"needs timm 1.0.27 or newer; install drkd\[timm\]"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_the_example_runs(capsys):
    spec = importlib.util.spec_from_file_location("timm_digits", EXAMPLES / "timm_digits.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.main(epochs=2, limit=400)
    assert found["student"] > 0.15  # ten digits
    assert "student" in capsys.readouterr().out
