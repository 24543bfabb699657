import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection import roi_heads
from torchvision.ops import sigmoid_focal_loss

import drkd
from detectors import CLASS_LOSS, CLASSES, DETECTORS, batch, make, one_stage, our_step, plain_step
from drkd.targets.rectify import swap
from drkd.tasks.detection.losses import detector_losses, distilled, watched
from drkd.tasks.detection.positions import AtPositions

FAMILIES = list(DETECTORS)


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
        drawn = student.transform(images, targets)[0].tensors
        features = teacher.roi_heads.box_roi_pool(teacher.backbone(drawn), seen["proposals"], seen["sizes"])
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


def test_ssd_scores_positives_and_the_hardest_negatives():
    student, teacher = make("ssd"), make("ssd", seed=1).eval()
    images, targets = batch()
    objective = drkd.dr_kd(AtPositions(teacher), alpha=0.4, temperature=3.0)
    losses, parts, _ = our_step(student, images, targets, objective)
    with torch.no_grad():
        logits, matched, scaled = one_stage(student, images, targets)
        scores, _, _ = one_stage(teacher, images, targets)
    total, positives, wrong, rows = torch.zeros(()), 0, 0, 0
    for image, (match, target) in enumerate(zip(matched, scaled, strict=True)):
        labels = [int(target["labels"][m]) if m >= 0 else 0 for m in match.tolist()]
        plain = [float(F.cross_entropy(logits[image, a], torch.tensor(label))) for a, label in enumerate(labels)]
        fore = [a for a, label in enumerate(labels) if label]
        back = sorted((a for a, label in enumerate(labels) if not label), key=lambda a: -plain[a])
        positives += len(fore)
        for a in fore + back[: 3 * len(fore)]:
            label = torch.tensor([labels[a]])
            soft = (swap(scores[image, a][None], label) / 3).softmax(1)
            total += 0.6 * plain[a] - 0.4 * 9 * (soft * (logits[image, a] / 3).log_softmax(0)).sum()
            wrong += int(scores[image, a].max() > scores[image, a, labels[a]])
            rows += 1
    assert positives > 0
    torch.testing.assert_close(losses["classification"].detach(), total / positives)
    torch.testing.assert_close(parts["rectified"], torch.tensor(wrong / rows))


@pytest.mark.parametrize("family", ["two_stage", "ssd"])
def test_positions_that_are_not_taught_are_plain_cross_entropy(family):
    """Against torchvision's loss and what each taught row adds to it, summed by hand."""
    detector = make(family)
    images, targets = batch()
    objective = drkd.dr_kd(AtPositions(make(family, seed=1)), alpha=0.4, temperature=2.0)
    seen = {}

    def step(how):
        torch.manual_seed(7)
        with watched(detector, objective, teach=how) as step:
            see = step.objective.register_forward_hook(
                lambda module, given, made: seen.update(logits=given[0].detach(), labels=given[1], rows=made["loss"])
            )
            losses = detector(images, [dict(target) for target in targets])
        see.remove()
        return losses[CLASS_LOSS[family]].detach(), step.parts

    plain = step("all")[0] * 0 + plain_step(detector, images, targets)[0][CLASS_LOSS[family]].detach()
    step("foreground")
    logits, labels = seen["logits"], seen["labels"]
    foreground = 1 - logits.softmax(dim=1)[:, 0]
    middle = float(foreground[labels == 0].median()) + 1e-4
    added = (seen["rows"] - F.cross_entropy(logits, labels, reduction="none")).detach()
    count = len(labels) if family == "two_stage" else int((labels > 0).sum())
    for teach in ("foreground", str(middle)):
        taught = labels > 0 if teach == "foreground" else (labels > 0) | (foreground >= middle)
        assert 0 < taught.sum() < len(taught)
        loss, parts = step(teach)
        torch.testing.assert_close(loss, plain + added[taught].sum() / count)
        torch.testing.assert_close(parts["ce"] + parts["soft"], loss)
        assert parts["rectified"] <= taught.float().mean()


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
