import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchmetrics.classification import MulticlassJaccardIndex
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large, lraspp_mobilenet_v3_large

import drkd
from drkd import InputError
from drkd.targets import Ema
from drkd.targets.rectify import swap
from drkd.tasks.segmentation import MainOutput, mean_iou, segmentation_losses

CLASSES = 4


def lraspp():
    return lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)


def deeplab():
    return deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True)


def batch(seed=0, size=48):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, size, size, generator=generator)
    labels = torch.randint(CLASSES, (2, size, size), generator=generator)
    labels[:, :5] = 255
    return images, labels


@pytest.mark.parametrize("make", [lraspp, deeplab])
def test_alpha_0_is_torchvisions_own_step_to_the_bit(make):
    """Its reference training: cross-entropy that ignores 255, and half of the auxiliary head's."""
    ours = make()
    plain = copy.deepcopy(ours)
    images, labels = batch()
    torch.manual_seed(1)  # dropout
    outputs = plain(images)
    wanted = F.cross_entropy(outputs["out"], labels, ignore_index=255)
    if "aux" in outputs:
        wanted = wanted + 0.5 * F.cross_entropy(outputs["aux"], labels, ignore_index=255)
    wanted.backward()
    objective = drkd.dr_kd(MainOutput(make()), alpha=0.0, ignore_index=255)
    torch.manual_seed(1)
    losses = segmentation_losses(ours, images, labels, objective)
    losses["loss"].backward()
    assert torch.equal(losses["loss"], wanted)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours.parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize("make", [lraspp, deeplab])
def test_a_batch_of_ignored_pixels_has_loss_0(make):
    images, labels = batch()
    losses = segmentation_losses(
        make(), images, torch.full_like(labels, 255), drkd.label_smoothing(0.1, ignore_index=255)
    )
    losses["loss"].backward()
    assert all(value == 0 for value in losses.values())


def test_labels_of_any_integer_type_give_the_same_losses():
    """As bytes, -100 would be class 156."""
    student, teacher = nn.Conv2d(3, 160, 1), nn.Conv2d(3, 160, 1)
    images, labels = batch()
    for method in (drkd.cross_entropy, drkd.tf_kd_reg, drkd.ols, lambda **o: drkd.dr_kd(teacher, 0.5, **o)):
        expected = segmentation_losses(student, images, labels, method(ignore_index=255))
        for dtype in (torch.uint8, torch.int16, torch.int32):
            found = segmentation_losses(student, images, labels.to(dtype), method(ignore_index=255))
            assert all(torch.equal(found[name], value) for name, value in expected.items())
    pairs = [(images, labels)]
    as_bytes = mean_iou(student, [(images, labels.to(torch.uint8))], num_classes=160)
    assert as_bytes == mean_iou(student, pairs, num_classes=160)


def test_dr_kd_on_pixels_is_its_formula_on_those_that_count():
    student, teacher = nn.Conv2d(3, CLASSES, 1), nn.Conv2d(3, CLASSES, 1)
    images, labels = batch()
    objective = drkd.dr_kd(MainOutput(teacher), alpha=0.4, temperature=3.0, ignore_index=255)
    losses = segmentation_losses(student, images, labels, objective)
    counted = labels != 255
    z = student(images).movedim(1, -1)[counted]
    v, y = teacher(images).movedim(1, -1)[counted], labels[counted]
    soft = (swap(v, y) / 3).softmax(1)
    wanted = 0.6 * F.cross_entropy(z, y) - 0.4 * 9 * (soft * (z / 3).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(losses["loss"], wanted)
    torch.testing.assert_close(losses["rectified"], (v.argmax(1) != y).float().mean())


def test_a_network_with_an_auxiliary_head_teaches_by_its_main_output():
    teacher = deeplab()
    images, _ = batch()
    seen = MainOutput(teacher).eval()(images)
    assert torch.equal(seen, teacher(images)["out"])
    losses = segmentation_losses(deeplab(), *batch(), drkd.tf_kd_self(MainOutput(teacher), ignore_index=255))
    torch.testing.assert_close(losses["loss"].detach(), losses["ce"] + losses["soft"] + losses["aux"])


def test_a_running_average_teaches_pixels():
    student = nn.Conv2d(3, CLASSES, 1)
    objective = drkd.online_dr_kd(source=Ema(MainOutput(student)), ignore_index=255)
    first = segmentation_losses(student, *batch(), objective)
    objective.update(progress=0.5)
    assert {"loss", "ce", "soft", "rectified"} <= set(first)


def test_a_few_steps_learn_the_colour_of_a_pixel():
    torch.manual_seed(0)
    student = nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, CLASSES, 1))
    images, _ = batch()
    labels = (images[:, 0] * CLASSES).long().clamp(max=CLASSES - 1)
    objective = drkd.label_smoothing(0.1, ignore_index=255)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.05)
    before = mean_iou(student, [(images, labels)], num_classes=CLASSES).miou
    for _ in range(60):
        optimizer.zero_grad()
        segmentation_losses(student, images, labels, objective)["loss"].backward()
        optimizer.step()
    assert before < 0.5
    assert mean_iou(student, [(images, labels)], num_classes=CLASSES).miou > 0.8


def test_miou_by_hand_over_all_batches_together():
    """Of six pixels that count: class 0 has hits 1 of a union of 3, class 1 has 3 of 5, class 2 does not occur."""

    class Repeats(nn.Module):
        def forward(self, images):
            return F.one_hot(images[:, 0].long(), 3).movedim(-1, 1).float()

    answers = [torch.tensor([[0.0, 1, 1]]), torch.tensor([[1.0, 1, 0], [2, 2, 2]])]
    labels = [torch.tensor([[0, 1, 1]]), torch.tensor([[1, 0, 1], [255, 255, 255]])]
    batches = [(image[None, None], label[None]) for image, label in zip(answers, labels, strict=True)]
    measured = mean_iou(Repeats(), batches, num_classes=3)
    assert measured.per_class == {"0": {"iou": 1 / 3, "pixels": 2}, "1": {"iou": 3 / 5, "pixels": 4}}
    assert measured.pixel_accuracy == 4 / 6
    assert measured.miou == pytest.approx((1 / 3 + 3 / 5) / 2)


def test_miou_agrees_with_torchmetrics_jaccard_index():
    network = nn.Conv2d(3, CLASSES, 1)
    batches = [batch(seed) for seed in range(3)]
    index = MulticlassJaccardIndex(CLASSES, ignore_index=255)
    for images, labels in batches:
        index.update(network(images).argmax(1), labels)
    assert mean_iou(network, batches, num_classes=CLASSES).miou == pytest.approx(float(index.compute()))


def test_what_does_not_fit_is_refused():
    images, labels = batch()
    with pytest.raises(InputError, match="logits or a dictionary with `out`, got tuple"):
        segmentation_losses(nn.Sequential(Pair()), images, labels, drkd.cross_entropy(ignore_index=255))
    with pytest.raises(InputError, match="labels from 0 to 3"):
        segmentation_losses(nn.Conv2d(3, CLASSES, 1), images, labels, drkd.cross_entropy())
    with pytest.raises(InputError, match="pixels whose label is not ignored"):
        mean_iou(nn.Conv2d(3, CLASSES, 1), [(images, torch.full_like(labels, 255))], num_classes=CLASSES)


class Pair(nn.Module):
    def forward(self, images):
        return images, images
