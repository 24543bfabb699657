import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection import roi_heads
from torchvision.ops import sigmoid_focal_loss

import drkd
from detectors import CLASSES, DETECTORS, batch
from drkd import InputError
from drkd.detection.losses import detector_losses, distilled
from drkd.detection.positions import AtPositions
from drkd.factory import create
from drkd.methods import METHODS
from drkd.rectify import swap
from drkd.targets import Ema, Frozen

CLASS_LOSS = {"two_stage": "loss_classifier", "ssd": "classification", "retina": "classification"}
FAMILIES = list(DETECTORS)


def make(family, seed=0):
    torch.manual_seed(seed)
    return DETECTORS[family]()


def plain_step(detector, images, targets):
    """torchvision's own losses and gradients."""
    torch.manual_seed(7)
    losses = detector(images, targets)
    detector.zero_grad()
    sum(losses.values()).backward()
    return losses, [parameter.grad.clone() for parameter in detector.parameters()]


def our_step(detector, images, targets, objective, index=None):
    torch.manual_seed(7)
    losses, parts = detector_losses(detector, images, targets, objective, index=index)
    detector.zero_grad()
    sum(losses.values()).backward()
    return losses, parts, [parameter.grad.clone() for parameter in detector.parameters()]


def at_alpha_0(family):
    yield "cross_entropy", drkd.cross_entropy()
    teacher = AtPositions(make(family, seed=1))
    yield "dr_kd", drkd.dr_kd(teacher, alpha=0.0, temperature=4.0)
    yield "tf_kd_self", drkd.tf_kd_self(teacher, alpha=0.0)
    yield "label_smoothing", drkd.label_smoothing(0.0)


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_alpha_0_is_torchvisions_own_step_to_the_bit(family, empty):
    detector = make(family)
    images, targets = batch(empty=empty)
    wanted, wanted_gradients = plain_step(detector, images, targets)
    assert wanted[CLASS_LOSS[family]] > 0
    for name, objective in at_alpha_0(family):
        losses, _, gradients = our_step(detector, images, targets, objective)
        assert list(losses) == list(wanted), name
        assert all(torch.equal(losses[part], wanted[part]) for part in wanted), name
        assert all(map(torch.equal, gradients, wanted_gradients)), name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_detector_is_left_as_it_was(family):
    detector = make(family)
    before = {name: set(vars(module)) for name, module in detector.named_modules()}
    detector_losses(detector, *batch(), drkd.cross_entropy())
    assert {name: set(vars(module)) for name, module in detector.named_modules()} == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in detector.modules())
    with pytest.raises(RuntimeError, match="on purpose"), distilled(detector, drkd.cross_entropy()):
        raise RuntimeError("on purpose")
    assert {name: set(vars(module)) for name, module in detector.named_modules()} == before


@pytest.mark.parametrize("family", FAMILIES)
def test_a_detector_may_be_asked_what_it_sees_in_between(family):
    detector = make(family)
    images, targets = batch()
    wanted = make(family).eval()(images)
    with distilled(detector, drkd.cross_entropy()) as parts:
        found = detector.eval()(images)
        assert parts == {}
        detector.train()(images, targets)
    assert all(torch.equal(one["scores"], other["scores"]) for one, other in zip(found, wanted, strict=True))
    assert set(parts) == {"ce"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_the_reduction_is_the_detectors_own(family, reduction):
    detector = make(family)
    images, targets = batch()
    wanted, _ = plain_step(detector, images, targets)
    objective = drkd.cross_entropy(reduction=reduction)
    losses, _, _ = our_step(detector, images, targets, objective)
    assert torch.equal(losses[CLASS_LOSS[family]], wanted[CLASS_LOSS[family]])
    assert objective.reduction == reduction


def test_a_method_put_on_the_detector_survives():
    detector = make("ssd")
    own = detector.compute_loss
    detector.compute_loss = own
    assert "compute_loss" in vars(detector)
    detector_losses(detector, *batch(), drkd.cross_entropy())
    assert vars(detector)["compute_loss"] is own


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_class_loss_changes(family):
    detector = make(family)
    images, targets = batch()
    wanted, _ = plain_step(detector, images, targets)
    objective = drkd.dr_kd(AtPositions(make(family, seed=1)), alpha=0.7, temperature=2.0)
    losses, parts, gradients = our_step(detector, images, targets, objective)
    for name, value in wanted.items():
        assert torch.equal(losses[name], value) == (name != CLASS_LOSS[family])
    assert all(gradient.isfinite().all() for gradient in gradients)
    torch.testing.assert_close(losses[CLASS_LOSS[family]].detach(), parts["ce"] + parts["soft"])
    assert 0 < parts["rectified"] <= 1


def test_two_stage_teacher_scores_the_students_proposals_with_its_own_features(monkeypatch):
    """Against the formula of DR-KD, on logits that torchvision's own functions hand over."""
    student, teacher = make("two_stage"), make("two_stage", seed=1)
    images, targets = batch()
    seen = {}
    own_loss, own_pool = roi_heads.fastrcnn_loss, student.roi_heads.box_roi_pool.forward

    def note_loss(logits, boxes, labels, regression):
        seen.update(logits=logits, labels=torch.cat(labels))
        return own_loss(logits, boxes, labels, regression)

    def note_pool(features, proposals, sizes):
        seen.update(proposals=proposals, sizes=sizes)
        return own_pool(features, proposals, sizes)

    monkeypatch.setattr(roi_heads, "fastrcnn_loss", note_loss)
    monkeypatch.setattr(student.roi_heads.box_roi_pool, "forward", note_pool)
    objective = drkd.dr_kd(AtPositions(teacher), alpha=0.3, temperature=2.0)
    losses, parts, _ = our_step(student, images, targets, objective)

    teacher.eval()
    with torch.no_grad():
        pictures = student.transform(images, targets)[0].tensors
        features = teacher.roi_heads.box_roi_pool(teacher.backbone(pictures), seen["proposals"], seen["sizes"])
        scores = teacher.roi_heads.box_predictor.scores(teacher.roi_heads.box_head(features))
    logits, labels = seen["logits"].detach(), seen["labels"]
    soft = F.kl_div((logits / 2).log_softmax(1), (swap(scores, labels) / 2).softmax(1), reduction="batchmean")
    target = (swap(scores, labels) / 2).softmax(1)
    entropy = -(target * target.log()).sum(1).mean()
    wanted = 0.7 * F.cross_entropy(logits, labels) + 0.3 * 4 * (soft + entropy)
    torch.testing.assert_close(losses["loss_classifier"].detach(), wanted)
    torch.testing.assert_close(parts["rectified"], (scores.argmax(1) != labels).float().mean())
    assert labels.eq(0).any()
    assert labels.gt(0).any()


def one_stage(detector, images, targets):
    """Logits (B, A, K), and per picture the matches of the anchors, from torchvision's parts alone."""
    from torchvision.ops import box_iou

    pictures, scaled = detector.transform(images, [dict(target) for target in targets])
    features = list(detector.backbone(pictures.tensors).values())
    logits = detector.head(features)["cls_logits"]
    anchors = detector.anchor_generator(pictures, features)
    matched = [
        detector.proposal_matcher(box_iou(target["boxes"], boxes))
        for target, boxes in zip(scaled, anchors, strict=True)
    ]
    return logits, matched, scaled


def test_ssd_scores_positives_and_the_hardest_negatives():
    student, teacher = make("ssd"), make("ssd", seed=1).eval()
    images, targets = batch()
    objective = drkd.dr_kd(AtPositions(teacher), alpha=0.4, temperature=3.0)
    losses, parts, _ = our_step(student, images, targets, objective)
    with torch.no_grad():
        logits, matched, scaled = one_stage(student, images, targets)
        scores, _, _ = one_stage(teacher, images, targets)
    total, positives, wrong, rows = torch.zeros(()), 0, 0, 0
    for picture, (match, target) in enumerate(zip(matched, scaled, strict=True)):
        labels = [int(target["labels"][m]) if m >= 0 else 0 for m in match.tolist()]
        plain = [float(F.cross_entropy(logits[picture, a], torch.tensor(label))) for a, label in enumerate(labels)]
        fore = [a for a, label in enumerate(labels) if label]
        back = sorted((a for a, label in enumerate(labels) if not label), key=lambda a: -plain[a])
        positives += len(fore)
        for a in fore + back[: 3 * len(fore)]:
            label = torch.tensor([labels[a]])
            soft = (swap(scores[picture, a][None], label) / 3).softmax(1)
            total += 0.6 * plain[a] - 0.4 * 9 * (soft * (logits[picture, a] / 3).log_softmax(0)).sum()
            wrong += int(scores[picture, a].max() > scores[picture, a, labels[a]])
            rows += 1
    assert positives > 0
    torch.testing.assert_close(losses["classification"].detach(), total / positives)
    torch.testing.assert_close(parts["rectified"], torch.tensor(wrong / rows))


def test_retina_rectifies_each_class_by_the_sign_of_its_logit():
    """sum_i m_i [(1-a) BCE(z, t) + a T^2 BCE(z / T, sigmoid(v' / T))] with v' = -v where its sign is wrong."""
    student, teacher = make("retina"), make("retina", seed=1).eval()
    nn.init.normal_(teacher.head.classification_head.cls_logits.bias)
    images, targets = batch()
    objective = drkd.dr_kd(AtPositions(teacher), alpha=0.4, temperature=2.0)
    losses, parts, _ = our_step(student, images, targets, objective)
    with torch.no_grad():
        logits, matched, scaled = one_stage(student, images, targets)
        scores, _, _ = one_stage(teacher, images, targets)
    means, wrong, rows = [], 0, 0
    for z, v, match, target in zip(logits, scores, matched, scaled, strict=True):
        valid = match != -2
        t = torch.zeros_like(z)
        t[match >= 0, target["labels"][match[match >= 0]]] = 1
        corrected = torch.where((v > 0) == (t > 0), v, -v)
        bce = F.binary_cross_entropy_with_logits
        hard, soft = bce(z, t, reduction="none"), bce(z / 2, (corrected / 2).sigmoid(), reduction="none")
        m = sigmoid_focal_loss(z, t) / hard
        means.append((m * (0.6 * hard + 0.4 * 4 * soft))[valid].sum() / (match >= 0).sum().clamp(min=1))
        wrong += int(((v > 0) != (t > 0))[valid].sum())
        rows += int(valid.sum()) * (CLASSES + 1)
    torch.testing.assert_close(losses["classification"].detach(), torch.stack(means).mean(), rtol=1e-4, atol=1e-5)
    assert wrong > 0
    torch.testing.assert_close(parts["rectified"], torch.tensor(wrong / rows))


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
    assert not frozen._outside[0].training


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


def test_memory_teaches_by_picture_and_anchor_in_ssd():
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
    for place in memory.seen.nonzero().flatten().tolist():
        picture = [4, 0, 2].index(place // anchors)
        torch.testing.assert_close(memory.table[place], logits[picture, place % anchors])
    assert parts["soft_kl"].abs() < 1e-6  # the same logits: the student has not moved
    _, parts, _ = our_step(student, images, targets, objective, index=torch.tensor([0, 4, 2]))
    assert parts["soft_kl"] > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", [method.__name__ for method in METHODS])
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
