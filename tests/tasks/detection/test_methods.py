import copy

import pytest
import torch
from torch import nn

import drkd
from detectors import CLASS_LOSS, DETECTORS, batch, make, one_stage, our_step, plain_step
from drkd import InputError
from drkd.methods import all_methods
from drkd.methods.registry import create
from drkd.targets import Ema, Frozen
from drkd.tasks.detection.losses import detector_losses
from drkd.tasks.detection.positions import AtPositions

FAMILIES = list(DETECTORS)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_copy_of_the_student_in_training_mode_statistics_teaches_in_eval_mode(family):
    student = make(family)
    teacher = AtPositions(copy.deepcopy(student))
    assert teacher.detector.training
    objective = drkd.tf_kd_self(teacher, alpha=0.5)
    statistics = [buffer.clone() for buffer in teacher.buffers()]
    our_step(student, *batch(), objective)
    assert all(map(torch.equal, statistics, teacher.buffers()))
    (frozen,) = [module for module in objective.modules() if isinstance(module, Frozen)]
    assert not frozen.network.training


@pytest.mark.parametrize("family", FAMILIES)
def test_ema_follows_the_student(family):
    student = make(family)
    ema = Ema(AtPositions(student), decay=0.5)
    objective = drkd.online_dr_kd(source=ema, alpha=0.5)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    first = [parameter.detach().clone() for parameter in student.parameters()]
    _, parts, _ = our_step(student, *batch(), objective)
    optimizer.step()
    objective.update(progress=0.5)
    for average, start, now in zip(ema.average.parameters(), first, student.parameters(), strict=True):
        torch.testing.assert_close(average, (start + now) / 2)
    assert "rectified" in parts


def test_memory_teaches_by_image_and_anchor_in_ssd():
    student = make("ssd")
    images, targets = batch()
    objective = drkd.ps_kd(alpha=0.5, epochs=2)
    _, parts, _ = our_step(student, images, targets, objective, index=torch.tensor([4, 0, 2]))
    assert parts["soft_kl"] == 0  # nothing is remembered yet
    objective.update(progress=0.5, epoch=1)
    with torch.no_grad():
        logits, _, _ = one_stage(student, images, targets)
    _, parts, _ = our_step(student, images, targets, objective, index=torch.tensor([4, 0, 2]))
    (memory,) = [module for module in objective.modules() if isinstance(module, drkd.targets.Memory)]
    anchors = logits.shape[1]
    for path in memory.seen.nonzero().flatten().tolist():
        image = [4, 0, 2].index(path // anchors)
        torch.testing.assert_close(memory.table[path], logits[image, path % anchors])
    assert parts["soft_kl"].abs() < 1e-6  # the same logits: the student has not moved
    _, parts, _ = our_step(student, images, targets, objective, index=torch.tensor([0, 4, 2]))
    assert parts["soft_kl"] > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", all_methods())
def test_every_method_takes_a_step_or_says_why_not(name, family):
    student = make(family)
    teacher = AtPositions(make(family, seed=1))
    settings = {"source": Ema(AtPositions(student))} if name == "online_dr_kd" else {}
    objective = create(name, settings, teacher=teacher, student=AtPositions(student), epochs=3)
    refused = name in ("cs_kd", "dlb", "kd_clean_view", "tf_kd_self_clean_view", "dr_kd_clean_view")
    if refused or (name == "ps_kd" and family != "ssd"):
        with pytest.raises(InputError):
            detector_losses(student, *batch(), objective, index=torch.arange(3))
        return
    losses, parts = detector_losses(student, *batch(), objective, index=torch.arange(3))
    sum(losses.values()).backward()
    objective.update(progress=0.5, epoch=1)
    assert all(value.isfinite() for value in [*losses.values(), *parts.values()])
    terms = [parts[term.name] for term in objective.terms]
    torch.testing.assert_close(losses[CLASS_LOSS[family]].detach(), torch.stack(terms).sum(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["two_stage", "retina"])
def test_memory_is_refused_where_positions_change(family):
    with pytest.raises(InputError, match="remembers positions, which change"):
        detector_losses(make(family), *batch(), drkd.ps_kd(), index=torch.arange(3))


def test_what_cannot_work_is_refused():
    detector = make("ssd")
    with pytest.raises(InputError, match="needs batches with pairs"):
        detector_losses(detector, *batch(), drkd.cs_kd())
    with pytest.raises(InputError, match="give AtPositions"):
        detector_losses(detector, *batch(), drkd.dr_kd(make("ssd")))
    with pytest.raises(InputError, match="in training mode"):
        detector_losses(detector.eval(), *batch(), drkd.cross_entropy())
    with pytest.raises(InputError, match="torchvision's Faster R-CNN, SSD or RetinaNet, got Linear"):
        detector_losses(nn.Linear(1, 1), *batch(), drkd.cross_entropy())
    with pytest.raises(InputError, match="needs the batch's index"):
        detector_losses(detector.train(), *batch(), drkd.ps_kd())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_without_any_box_trains_like_torchvisions(family):
    detector = make(family)
    images, targets = batch()
    targets = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)} for _ in targets]
    wanted, wanted_gradients = plain_step(detector, images, targets)
    losses, _, gradients = our_step(detector, images, targets, drkd.cross_entropy())
    assert all(torch.equal(losses[part], wanted[part]) for part in wanted)
    assert all(map(torch.equal, gradients, wanted_gradients))
