"""Labels that name several classes, in every method: against integers, formulas by hand, and other people's losses."""

import math

import pytest
import torch
import torch.nn.functional as F
from timm.loss import SoftTargetCrossEntropy
from torch import nn

import drkd
from drkd.methods.registry import all_methods, create
from drkd.objective.chunked import LARGE_CLASSES
from drkd.utils.labels import mix_labels

B, K, N = 6, 5, 9


def rows(*, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(B, K, generator=generator, dtype=dtype)
    labels = torch.tensor([0, 4, 2, -100, 2, 1])
    inputs = torch.randn(B, 3, generator=generator, dtype=dtype)
    return logits, labels, inputs, torch.tensor([3, 0, 8, 5, 1, 7])


def one_hot(labels):
    return mix_labels(labels, labels, torch.ones(len(labels), dtype=torch.float64), num_classes=K).probs


def distributions(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(B, K, generator=generator, dtype=dtype).softmax(1)


def make(name, **settings):
    torch.manual_seed(0)
    teacher = nn.Linear(3, K).double()
    return create(name, settings, teacher=teacher, student=nn.Linear(3, K).double(), epochs=3).double()


METHODS = [(name, {}) for name in all_methods() if name != "cs_kd"] + [
    ("dr_kd", {"rectify": "smooth"}),
    ("dr_kd", {"rectify": "drop", "temperature": 3.0}),
    ("dr_kd", {"student_swap": True, "convention": "reference"}),
    ("online_dr_kd", {"source": "ema", "decay": 0.5}),
    ("online_dr_kd", {"keep": 2}),
    ("label_smoothing", {"convention": "reference"}),
    ("tf_kd_reg", {"convention": "reference"}),
]


class Plain:
    """Samples for a clean view."""

    def __init__(self):
        self.split = range(N)

    def batches(self):
        generator = torch.Generator().manual_seed(2)
        yield type("Batch", (), {"inputs": torch.randn(N, 3, generator=generator, dtype=torch.float64)})


def two_steps(objective, labels, reduction="batchmean"):
    """Losses and gradients of two steps on the same samples, so that what is remembered teaches at the second."""
    objective.prepare(Plain())
    logits, _, inputs, index = rows()
    found = []
    for step in range(2):
        student = (logits * (1 + step)).requires_grad_()
        losses = objective(student, labels, inputs=inputs, index=index, reduction=reduction)
        (gradient,) = torch.autograd.grad(losses["loss"].sum(), student)
        found.append({**{name: value.detach() for name, value in losses.items()}, "gradient": gradient})
        objective.update(progress=(step + 1) / 3, epoch=step + 1)
    return found


@pytest.mark.parametrize("reduction", ["none", "batchmean"])
@pytest.mark.parametrize(("name", "settings"), METHODS)
def test_one_hot_distributions_are_integers_in_every_method(name, settings, reduction):
    labels = rows()[1]
    whole = drkd.MixedLabels(one_hot(labels), torch.ones(B), torch.zeros(B, dtype=torch.int64))
    expected = two_steps(make(name, **settings), labels, reduction)
    assert expected[1]["gradient"].abs().sum() > 0.1
    for given in (one_hot(labels), drkd.MixedLabels(one_hot(labels)), whole):
        for ours, theirs in zip(two_steps(make(name, **settings), given, reduction), expected, strict=True):
            assert list(ours) == list(theirs)
            for part, value in theirs.items():
                assert torch.allclose(ours[part].double(), value.double(), rtol=1e-12, atol=1e-12), part


def test_the_label_term_is_torchs_and_timms_with_gradients():
    logits, probs = rows()[0].requires_grad_(), distributions()
    ours = drkd.cross_entropy()(logits, probs)["loss"]
    for theirs in (F.cross_entropy(logits, probs), SoftTargetCrossEntropy()(logits, probs)):
        assert ours.item() == pytest.approx(theirs.item(), abs=1e-12)
        gradients = [torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, theirs)]
        assert torch.allclose(*gradients, rtol=0, atol=1e-12)


def test_large_logits_have_the_same_label_term():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(260, LARGE_CLASSES, generator=generator).requires_grad_()
    labels, partners = (torch.randint(LARGE_CLASSES, (260,), generator=generator) for _ in range(2))
    mixed = mix_labels(labels, partners, torch.rand(260, generator=generator), num_classes=LARGE_CLASSES)
    mixed.probs[7] = 0
    ours = drkd.cross_entropy(reduction="sum")(logits, mixed)["loss"]
    theirs = F.cross_entropy(logits, mixed.probs, reduction="sum")
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)]
    assert torch.allclose(*gradients, atol=1e-6)


def test_dense_distributions():
    logits = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    labels = torch.randint(3, (2, 4, 4))
    labels[0, 0] = -100
    probs = mix_labels(labels, labels, torch.ones(2), num_classes=3).probs.double()
    objective = drkd.dr_kd(lambda inputs: inputs, 0.4, 2.0)
    ours, theirs = (objective(logits, given, inputs=logits.flip(0)) for given in (probs, labels))
    assert all(torch.allclose(ours[name], value, atol=1e-12) for name, value in theirs.items())


def test_virtual_teachers_are_mixed():
    logits, probs = rows()[0], distributions()
    ours = drkd.tf_kd_reg(0.9, alpha=1.0)(logits, probs)["loss"]
    by_hand = 0.0
    for row in range(B):
        for label in range(K):
            teacher = torch.full((K,), 0.1 / (K - 1), dtype=torch.float64)
            teacher[label] = 0.9
            by_hand -= probs[row, label] * (teacher * logits[row].log_softmax(0)).sum() / B
    assert ours.item() == pytest.approx(by_hand.item(), abs=1e-12)


def test_ps_kd_mixes_what_it_remembers_by_the_weights():
    """(1 - a) CE(mixed label, p) + a CE(w p_last(own) + (1 - w) p_last(partner), p), written out row by row."""
    generator = torch.Generator().manual_seed(3)
    first, second = (torch.randn(4, K, generator=generator, dtype=torch.float64) for _ in range(2))
    labels, index = torch.tensor([0, 1, 2, 3]), torch.tensor([6, 2, 0, 4])
    objective = drkd.ps_kd(0.8)
    objective.update(progress=0.5)
    objective(first, labels, index=index)
    objective.update()
    weight = torch.tensor([0.7, 0.4, 1.0, 0.9], dtype=torch.float64)
    mixed = mix_labels(labels, labels.roll(-1), weight, num_classes=K, partner_index=index.roll(-1))
    ours = objective(second, mixed, index=index)
    alpha, last = 0.8 * 0.5, first.softmax(1)
    by_hand = 0.0
    for row in range(4):
        w, other, log_p = weight[row], (row + 1) % 4, second[row].log_softmax(0)
        hard = -w * log_p[labels[row]] - (1 - w) * log_p[labels[other]]
        soft = -((w * last[row] + (1 - w) * last[other]) * log_p).sum()
        by_hand += ((1 - alpha) * hard + alpha * soft) / 4
    assert ours["loss"].item() == pytest.approx(by_hand.item(), abs=1e-12)
    objective.update()  # of the four only the third was no mixture
    remembered = objective.terms[1].target.table[index]
    assert torch.equal(remembered, torch.stack([first[0], first[1], second[2], first[3]]))


def test_a_mixture_has_a_target_once_both_samples_were_seen():
    objective = drkd.online_dr_kd(0.5)
    logits = torch.randn(2, K)
    objective(logits[:1], torch.tensor([1]), index=torch.tensor([0]))
    objective.update()
    labels, index = torch.tensor([1, 2]), torch.tensor([0, 1])
    mixed = mix_labels(labels, labels.flip(0), torch.full((2,), 0.6), num_classes=K, partner_index=index.flip(0))
    losses = objective(logits, mixed, index=index)
    assert losses["loss"].item() == pytest.approx(F.cross_entropy(logits, mixed.probs).item(), rel=1e-6)
    whole = mix_labels(labels, labels.flip(0), torch.ones(2), num_classes=K, partner_index=index.flip(0))
    ours, theirs = (objective(logits, given, index=index)["loss"] for given in (whole, labels))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)  # the first needs nothing of the second


def test_clean_views_are_mixed_by_the_weights():
    objective = make("kd_clean_view", alpha=1.0, temperature=2.0)
    samples = Plain()
    objective.prepare(samples)
    answers = next(samples.batches()).inputs @ objective.terms[1].target.teacher.network.weight.T
    logits, labels, _, index = rows()
    labels = labels.abs() % K
    weight = torch.rand(B, dtype=torch.float64)
    mixed = mix_labels(labels, labels.roll(1), weight, num_classes=K, partner_index=index.roll(1))
    answers = (answers + objective.terms[1].target.teacher.network.bias).softmax(1)
    taught = weight[:, None] * answers[index] + (1 - weight[:, None]) * answers[index.roll(1)]
    expected = -4 * ((taught.log() / 2).softmax(1) * (logits / 2).log_softmax(1)).sum(1).mean()
    assert objective(logits, mixed, index=index)["loss"].item() == pytest.approx(expected.item(), rel=1e-3)  # float16


def test_class_means_take_votes_by_their_weights_and_no_mixed_images():
    logits, probs = rows()[0], distributions()
    objective = drkd.ols(0.5)
    objective(logits, probs)
    mixed = drkd.MixedLabels(probs, torch.full((B,), 0.5), torch.zeros(B, dtype=torch.int64))
    objective(3 * logits, mixed)
    objective.update(epoch=1)
    right = logits.argmax(1) == probs.argmax(1)
    weights = probs[right]
    expected = torch.full((K, K), 1 / K, dtype=torch.float64)
    if len(weights):
        expected = weights.T @ logits[right].softmax(1) / weights.sum(0)[:, None]
    assert right.any()
    assert torch.allclose(objective.terms[1].target.means, expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.rand(2, 4), r"needs integer labels \(2,\) or distributions \(2, 3\), got float32 \(2, 4\)"),
        (torch.rand(2), r"needs integer labels \(2,\) or distributions \(2, 3\), got float32 \(2,\)"),
        (torch.full((2, 3), 0.5), r"add up to 1 in each row .* got a sum of 1\.5; divide votes by their number"),
        (torch.full((2, 3), math.nan), "got a sum of nan"),
        (torch.tensor([[2.0, -1.0, 0.0]] * 2), "weights from 0 to 1, got -1"),
        (drkd.MixedLabels(torch.eye(3)[:2], torch.ones(3)), r"MixedLabels with a weight \(2,\), got float32 \(3,\)"),
        (drkd.MixedLabels([1, 2]), "got list; give a weight for each class"),
    ],
)
def test_labels_that_are_no_distributions_are_refused(labels, message):
    with pytest.raises(drkd.InputError, match=message):
        drkd.cross_entropy()(torch.zeros(2, 3), labels)


def test_a_memory_must_be_told_of_the_partners():
    mixed = drkd.MixedLabels(torch.eye(3)[:2], torch.full((2,), 0.5))
    with pytest.raises(drkd.InputError, match="`Memory` needs to know which samples were mixed; give MixedLabels"):
        drkd.online_dr_kd()(torch.zeros(2, 3), mixed, index=torch.tensor([0, 1]))


def test_a_batch_without_any_label_has_loss_0():
    losses = drkd.label_smoothing()(torch.randn(2, 3), torch.zeros(2, 3))
    assert losses["loss"].item() == 0
    assert drkd.label_smoothing(ignore_index=255)(torch.randn(2, 3), torch.zeros(2, 3))["loss"].item() == 0


def test_half_precision_distributions_and_other_devices():
    probs = distributions().to(torch.bfloat16)
    assert drkd.cross_entropy()(rows()[0], probs)["loss"].isfinite()
    mixed = drkd.MixedLabels(probs, torch.ones(B), torch.arange(B)).to("meta")
    assert {mixed.probs.device.type, mixed.weight.device.type, mixed.partner_index.device.type} == {"meta"}
    assert len(mixed) == B
