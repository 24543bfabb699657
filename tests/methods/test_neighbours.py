"""OLS, MaxSup, CS-KD and DLB: the published losses and gradients, their limits, and what a loop may rely on."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import drkd
from drkd import InputError
from drkd.methods.registry import create
from oracles import neighbours
from oracles.public_code import softmax

K = 5
METHODS = ("ols", "max_sup", "cs_kd", "dlb")
seeds, sizes, weights, temperatures = st.integers(0, 10**6), st.integers(1, 6), st.floats(0, 2), st.floats(0.5, 7)
property_of = settings(deadline=None, max_examples=25, derandomize=True)


def learn(objective, logits, labels, index=None, **done):
    """A step as a loop makes it; the detached parts and the gradient of the loss to the logits."""
    logits = torch.as_tensor(logits).clone().requires_grad_()
    index = None if index is None else torch.as_tensor(index)
    losses = objective(logits, torch.as_tensor(labels), index=index)
    (gradient,) = torch.autograd.grad(losses["loss"].sum(), logits)
    objective.update(**done)
    return {name: value.detach() for name, value in losses.items()}, gradient


def drawn(seed, n):
    rng = np.random.default_rng(seed)
    return rng, 2 * rng.normal(size=(n, K)), rng.integers(0, K, n)


def agree(ours, by_hand):
    """Loss and gradient equal the oracle's."""
    losses, gradient = ours
    assert losses["loss"].item() == pytest.approx(by_hand[0], rel=1e-10)
    np.testing.assert_allclose(gradient.numpy(), by_hand[1], rtol=0, atol=1e-10)


@property_of
@given(seeds, st.integers(2, 9), st.floats(0, 1))
def test_ols_is_taught_by_the_class_means_of_the_last_epoch(seed, n, alpha):
    rng, first, y = drawn(seed, n)
    objective = drkd.ols(alpha)
    uniform = np.full((K, K), 1 / K)
    agree(learn(objective, first, y), neighbours.ols(first, y, uniform, alpha))
    second, z = 2 * rng.normal(size=(2, n, K))
    agree(learn(objective, second, y, epoch=1), neighbours.ols(second, y, uniform, alpha))
    means = neighbours.class_means(np.concatenate([first, second]), np.concatenate([y, y]))
    agree(learn(objective, z, y), neighbours.ols(z, y, means, alpha))
    agree(learn(objective, -z, y, epoch=2), neighbours.ols(-z, y, means, alpha))
    means = neighbours.class_means(np.concatenate([z, -z]), np.concatenate([y, y]))  # nothing of epoch 1 is left
    agree(learn(objective, first, y), neighbours.ols(first, y, means, alpha))


@property_of
@given(seeds, sizes, weights, weights, st.floats(0, 1))
def test_max_sup_holds_the_largest_logit_down_ever_more(seed, n, initial, final, progress):
    _, z, y = drawn(seed, n)
    objective = drkd.max_sup(final, initial_weight=initial)
    agree(learn(objective, z, y, progress=progress), neighbours.max_sup(z, y, initial))
    agree(learn(objective, z, y), neighbours.max_sup(z, y, (1 - progress) * initial + progress * final))


@property_of
@given(seeds, sizes, weights, temperatures)
def test_cs_kd_learns_from_partners_that_learn_nothing(seed, n, weight, temperature):
    rng, z, y = drawn(seed, n)
    partners = 2 * rng.normal(size=(n, K))
    losses, gradient = learn(drkd.cs_kd(weight, temperature), np.concatenate([z, partners]), [*y, *[-100] * n])
    agree((losses, gradient[:n]), neighbours.cs_kd(z, y, partners, weight, temperature))
    assert not gradient[n:].any()
    if weight:
        divergence = neighbours.kl(softmax(partners / temperature), z, temperature).mean()
        assert losses["soft_kl"].item() == pytest.approx(divergence, abs=1e-10)


@property_of
@given(seeds, sizes, weights, temperatures)
def test_dlb_is_taught_by_the_last_step(seed, n, weight, temperature):
    """Three batches: the second step has the first in it again, the third the second."""
    rng, first, y = drawn(seed, n)
    objective = drkd.dlb(weight, temperature)
    agree(learn(objective, first, y, np.arange(n)), neighbours.hard_mean(first, y))
    second, third = 2 * rng.normal(size=(2, 2 * n, K))
    labels = rng.integers(0, K, 3 * n)
    agree(
        learn(objective, second, labels[: 2 * n], np.arange(2 * n)),
        neighbours.dlb(second, labels[: 2 * n], first, weight, temperature),
    )
    losses, gradient = learn(objective, third, labels[n:], np.arange(n, 3 * n))
    agree((losses, gradient), neighbours.dlb(third, labels[n:], second[n:], weight, temperature))
    if weight:
        divergence = neighbours.kl(softmax(second[n:] / temperature), third[:n], temperature).mean()
        assert losses["soft_kl"].item() == pytest.approx(divergence, abs=1e-10)


def test_dlb_starts_every_epoch_without_a_teacher():
    """A sample of an epoch's last batch that happens to be in the next one's first is no replay."""
    objective = drkd.dlb()
    _, z, y = drawn(0, 4)
    learn(objective, z, y, np.arange(4), epoch=1)
    agree(learn(objective, -z, y, np.arange(4), epoch=1), neighbours.hard_mean(-z, y))
    agree(learn(objective, z, y, np.arange(4)), neighbours.dlb(z, y, -z, 1.0, 3.0))


@pytest.mark.parametrize("name", METHODS)
def test_published_settings_are_the_defaults(name):
    """OLS .5, MaxSup .1 to .2, CS-KD 1 and T 4, DLB 1 and T 3."""
    settings_of = {
        "ols": {"alpha": 0.5},
        "max_sup": {"weight": 0.2, "initial_weight": 0.1},
        "cs_kd": {"weight": 1.0, "temperature": 4.0},
        "dlb": {"weight": 1.0, "temperature": 3.0},
    }
    said = create(name, settings_of[name])
    assert create(name, {}).effective_weights(K) == said.effective_weights(K)
    losses = [steps(objective)[0] for objective in (create(name, {}), said)]
    assert losses[0] == losses[1]
    effective = {"ols": [0.5, 0.5], "max_sup": [1, 0.2], "cs_kd": [1, 16], "dlb": [1, 9]}
    assert list(said.effective_weights(K).values()) == effective[name]


def batches(count=6, dtype=torch.float64, dense=()):
    """Batches that suit every method: 2 rows replayed, 2 new ones, then a partner of each with the ignored label."""
    random = torch.Generator().manual_seed(3)
    labels = torch.randint(0, K, (2 * count + 2, *dense), generator=random)
    for step in range(count):
        seen = torch.arange(2 * step, 2 * step + 4)
        logits = 2 * torch.randn(8, K, *dense, dtype=torch.float64, generator=random)
        rows = torch.cat([labels[seen], torch.full((4, *dense), -100)])
        yield logits.to(dtype), rows, torch.cat([seen, 1000 + seen])


def steps(objective, start=0, **options):
    """Every step's parts and gradients from `start` on, two steps an epoch."""
    parts, gradients = [], []
    for step, batch in list(enumerate(batches(**options)))[start:]:
        losses, gradient = learn(objective, *batch, progress=(step + 1) / 6, epoch=(step + 1) // 2)
        parts.append({name: value.tolist() for name, value in losses.items()})
        gradients.append(gradient)
    return parts, torch.stack(gradients)


def same(ours, theirs):
    return ours[0] == theirs[0] and torch.equal(ours[1], theirs[1])


def soft_name(name):
    return "max" if name == "max_sup" else "soft"


@pytest.mark.parametrize("name", METHODS)
def test_weight_zero_is_plain_cross_entropy_to_the_bit(name):
    zero = {"ols": {"alpha": 0}, "max_sup": {"weight": 0, "initial_weight": 0}}.get(name, {"weight": 0})
    ours, gradients = steps(create(name, zero), dtype=torch.float32)
    for losses, gradient, (logits, labels, _) in zip(ours, gradients, batches(dtype=torch.float32), strict=True):
        logits.requires_grad_()
        loss = F.cross_entropy(logits, labels)
        assert losses["loss"] == loss.item()
        assert torch.equal(gradient, torch.autograd.grad(loss, logits)[0])


@pytest.mark.parametrize("name", METHODS)
def test_a_discarded_step_leaves_no_trace(name):
    clean, other = create(name, {}), create(name, {})
    for step, (logits, labels, index) in enumerate(batches(4)):
        other(-3 * logits, labels, index=index)
        other.discard()
        done = {"progress": (step + 1) / 6, "epoch": (step + 1) // 2}
        ours, theirs = (learn(objective, logits, labels, index, **done) for objective in (clean, other))
        assert same(ours, theirs)
    for ours, theirs in zip(clean.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", METHODS)
def test_neither_a_call_alone_nor_eval_mode_changes_what_comes_next(name):
    clean, other = create(name, {}), create(name, {})
    for step, (logits, labels, index) in enumerate(batches(4)):
        other.eval()
        twice = [other(z, labels, index=index)["loss"] for z in (logits, -3 * logits, logits)]
        assert torch.equal(twice[0], twice[2])
        other.update(progress=other.progress, epoch=other.epoch)
        other.train()
        done = {"progress": (step + 1) / 6, "epoch": (step + 1) // 2}
        ours, theirs = (learn(objective, logits, labels, index, **done) for objective in (clean, other))
        assert same(ours, theirs)


@pytest.mark.parametrize("start", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", METHODS)
def test_a_restored_objective_goes_on_to_the_bit(name, start):
    """At an epoch's end and in the middle of one."""
    whole, saved, restored = (create(name, {}) for _ in range(3))
    expected = steps(whole)
    for step, batch in list(enumerate(batches()))[:start]:
        learn(saved, *batch, progress=(step + 1) / 6, epoch=(step + 1) // 2)
    restored.load_state_dict({key: value.clone() for key, value in saved.state_dict().items()})
    restored.progress, restored.epoch = saved.progress, saved.epoch
    assert same(steps(restored, start), (expected[0][start:], expected[1][start:]))


@pytest.mark.parametrize("name", METHODS)
def test_ignored_rows_get_no_gradient_and_change_nothing(name):
    """Every second sample and its partner, ignored or left out."""
    ours, theirs = create(name, {}), create(name, {})
    keep = torch.tensor([0, 2, 4, 6])
    for step, (logits, labels, index) in enumerate(batches()):
        some = labels.clone()
        some[[1, 3]] = -100
        done = {"progress": (step + 1) / 6, "epoch": (step + 1) // 2}
        with_them = learn(ours, logits, some, index, **done)
        without = learn(theirs, logits[keep], labels[keep], index[keep], **done)
        assert {part: value.item() for part, value in with_them[0].items()} == pytest.approx(
            {part: value.item() for part, value in without[0].items()}, rel=1e-12
        )
        assert torch.allclose(with_them[1][keep], without[1], atol=1e-12)
        assert not with_them[1][[1, 3, 4, 5, 6, 7]].any()


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_of_ignored_rows_has_loss_zero(name):
    objective = create(name, {})
    steps(objective)
    logits, labels, index = next(batches())
    losses, gradient = learn(objective, logits, torch.full_like(labels, -100), index)
    assert losses["loss"] == 0
    assert not gradient.any()


@pytest.mark.parametrize("name", METHODS)
def test_reductions_agree(name):
    """Means are over the rows that count, for DLB's soft part over those that were replayed."""
    by = {how: steps(getattr(drkd, name)(reduction=how)) for how in ("none", "sum", "batchmean")}
    soft = soft_name(name)
    for step, (rows, sums, means) in enumerate(zip(*(by[how][0] for how in by), strict=True)):
        for part in ("loss", "ce", soft):
            assert np.sum(rows[part]) == pytest.approx(sums[part], abs=1e-12)
        taught = 4 if name != "dlb" else 2 * (step % 2)  # the second step of each epoch
        assert np.shape(rows["loss"]) == (8,)
        assert means["ce"] == pytest.approx(sums["ce"] / 4)
        assert means[soft] == pytest.approx(sums[soft] / max(1, taught))
        assert means["loss"] == pytest.approx(means["ce"] + means[soft])
    if name != "dlb":
        assert torch.allclose(by["sum"][1], 4 * by["batchmean"][1])


@pytest.mark.parametrize("name", METHODS)
def test_dense_logits_equal_their_rows(name):
    ours, theirs = create(name, {}), create(name, {})
    flat = lambda logits: logits.movedim(1, -1).reshape(-1, K)
    for step, (logits, labels, index) in enumerate(batches(dense=(2, 3))):
        labels[0, 0, 0] = -100
        done = {"progress": (step + 1) / 6, "epoch": (step + 1) // 2}
        pixels = (6 * index[:, None] + torch.arange(6)).flatten()
        losses, gradient = learn(ours, logits, labels, index, **done)
        expected, rows = learn(theirs, flat(logits), labels.flatten(), pixels, **done)
        assert {part: value.item() for part, value in losses.items()} == pytest.approx(
            {part: value.item() for part, value in expected.items()}, rel=1e-12
        )
        assert torch.allclose(flat(gradient), rows, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", METHODS)
def test_lower_precisions_are_computed_in_float32(name, dtype):
    """Against float64 on the very same logits: only the arithmetic differs."""
    ours, exact = create(name, {}), create(name, {})
    for step, (logits, labels, index) in enumerate(batches(dtype=dtype)):
        done = {"progress": (step + 1) / 6, "epoch": (step + 1) // 2}
        losses, gradient = learn(ours, logits, labels, index, **done)
        expected, _ = learn(exact, logits.double(), labels, index, **done)
        assert losses["loss"].dtype is torch.float32
        assert gradient.dtype is dtype
        assert losses["loss"].item() == pytest.approx(expected["loss"].item(), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: drkd.ols(1.5), r"alpha must lie in \[0, 1\], got 1.5"),
        (lambda: drkd.max_sup(-0.1), "weight must be at least 0, got -0.1"),
        (lambda: drkd.max_sup(initial_weight=-1), "initial_weight must be at least 0, got -1"),
        (lambda: drkd.cs_kd(-1), "weight must be at least 0, got -1"),
        (lambda: drkd.cs_kd(temperature=0), "temperature must be above 0, got 0"),
        (lambda: drkd.dlb(temperature=-1), "temperature must be above 0, got -1"),
        (lambda: create("cs_kd", {"alpha": 0.5}), "cs_kd takes no alpha; it takes weight, temperature"),
        (lambda: drkd.dlb()(torch.zeros(2, K), torch.tensor([0, 1])), "`dlb` needs the batch's index"),
        (lambda: drkd.cs_kd()(torch.zeros(2, K), torch.tensor([0, 1])), "`Partner` needs a batch of pairs"),
    ],
)
def test_bad_settings_and_batches_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
