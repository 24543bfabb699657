"""Class weights are torch's for cross-entropy, and every method's rows count by them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

import drkd
from drkd import InputError
from drkd.methods import all_methods, registry
from drkd.methods.registry import create
from drkd.objective.class_weights import balanced_weights, row_weights

K = 4
DRAW = torch.Generator().manual_seed(0)
Z, V = torch.randn(2, 8, K, dtype=torch.float64, generator=DRAW)
Y = torch.tensor([0, 1, 2, 3, 0, 0, -100, 1])
W = [0.5, 2.0, 3.0, 0.25]


def grad(loss, z):
    return torch.autograd.grad(loss, z)[0]


@pytest.mark.parametrize("shape", [(8, K), (8, K, 3, 2)])
@pytest.mark.parametrize("reduction", ["batchmean", "sum", "none"])
def test_cross_entropy_is_torchs(shape, reduction):
    z = torch.randn(shape, dtype=torch.float64, generator=DRAW).requires_grad_()
    labels = Y if len(shape) == 2 else Y[:, None, None].expand(8, 3, 2).roll(1, 1)
    ours = drkd.cross_entropy(class_weights=W)(z, labels, reduction=reduction)["loss"]
    mode = "mean" if reduction == "batchmean" else reduction
    theirs = F.cross_entropy(z, labels, weight=torch.tensor(W, dtype=torch.float64), reduction=mode)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad(ours.sum(), z), grad(theirs.sum(), z), rtol=1e-12, atol=1e-12)


def batches():
    """What a call of each method gets: two halves, so that pairs are pairs."""
    labels = torch.tensor([0, 1, 2, 3, -100, -100, -100, -100])
    return {"inputs": V, "index": torch.arange(8), "labels": labels}


def made(name, **options):
    teacher = (lambda inputs: inputs) if "clean_view" not in name else None
    return create(name, {}, teacher=teacher, student=nn.Identity(), epochs=3, **options)


@pytest.mark.parametrize("name", [name for name in all_methods() if "clean_view" not in name])
def test_in_every_method_a_row_of_weight_2_counts_like_two_rows(name):
    """Whole weights against rows that are there so often; of pairs, each row with its partner."""
    call, times = batches(), torch.tensor([1, 3, 2, 1])
    rows = torch.arange(4).repeat_interleave(times)
    often = torch.cat([rows, rows + 4])
    z = Z.clone().requires_grad_()
    weighted = made(name, class_weights=times.double())
    plain = made(name)
    losses = weighted(z, call["labels"], inputs=V, index=call["index"])
    repeated = plain(z[often], call["labels"][often], inputs=V[often], index=call["index"][often])
    for part, value in repeated.items():
        if part != "rectified":
            torch.testing.assert_close(losses[part], value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad(losses["loss"], z), grad(repeated["loss"], z), rtol=1e-12, atol=1e-12)


def test_rectified_stays_a_fraction_of_rows():
    options = {"inputs": V, "index": torch.arange(8)}
    weighted, plain = (made("dr_kd", class_weights=w)(Z, Y, **options)["rectified"] for w in (W, None))
    assert weighted == plain


def test_equal_weights_change_nothing_whatever_their_size():
    z = Z.clone().requires_grad_()
    ours, plain = (made("dr_kd", class_weights=w)(z, Y, inputs=V)["loss"] for w in ([1e-3] * K, None))
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad(ours, z), grad(plain, z), rtol=1e-12, atol=1e-12)


def test_classes_of_weight_0_do_not_count():
    loss = drkd.cross_entropy(class_weights=[1.0, 0, 1.0, 1.0])
    assert loss(Z, torch.tensor([0, 1, 2, 1, 0, 1, 1, 1]))["loss"] == pytest.approx(
        F.cross_entropy(Z[[0, 2, 4]], torch.tensor([0, 2, 0])).item()
    )
    assert loss(Z, torch.ones(8, dtype=torch.long))["loss"] == 0


def test_balanced_weights_are_scikit_learns():
    labels = torch.tensor([0] * 7 + [1] * 2 + [2] + [-100] * 3)
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=labels[:10].numpy())
    assert balanced_weights(labels).tolist() == pytest.approx(theirs.tolist())
    shares = F.one_hot(labels[:10]).double()
    assert torch.equal(balanced_weights(shares), balanced_weights(labels))


def test_a_distribution_weighs_by_its_shares():
    shares = torch.softmax(V, dim=1)
    expected = -(shares * torch.tensor(W) * Z.log_softmax(1)).sum(1)
    one_hot = F.one_hot(Y.clamp(min=0), K).double()
    by_class = (shares * torch.tensor(W)).sum(1)
    torch.testing.assert_close(row_weights(torch.tensor(W).double(), shares), by_class)
    torch.testing.assert_close(row_weights(torch.tensor(W), one_hot)[Y >= 0], row_weights(torch.tensor(W), Y)[Y >= 0])
    theirs = F.cross_entropy(Z, shares, weight=torch.tensor(W).double(), reduction="none")
    torch.testing.assert_close(expected, theirs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_weighs_distributions_in_full_precision(dtype):
    shares, w = torch.softmax(V, dim=1), torch.tensor(W, dtype=torch.float64)
    losses, by_row = -(shares * Z.log_softmax(1)).sum(1), (shares * w).sum(1)
    with torch.autocast("cpu", dtype):
        ours = drkd.cross_entropy(class_weights=W)(Z.float(), shares.float())["loss"]
    assert ours.item() == pytest.approx(((by_row * losses).sum() / by_row.sum()).item(), rel=1e-6)


def test_balanced_goes_by_the_training_labels(tmp_path):
    data = drkd.load_data("digits", limit_train=60)
    data.train.labels[:20] = 9
    student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
    objective = drkd.cross_entropy(class_weights="balanced")
    drkd.fit(student, objective, data, epochs=1, batch_size=30)
    assert torch.equal(
        objective.row_weights.weights[: int(data.train.labels.max()) + 1], balanced_weights(data.train.labels)
    )
    objective.reset()
    with pytest.raises(InputError, match=r"which were not seen; call .*prepare"):
        objective(torch.zeros(1, 10), torch.tensor([0]))


def test_classes_without_samples_weigh_1():
    objective = drkd.cross_entropy(class_weights="balanced")
    objective.row_weights.prepare(torch.tensor([0, 0, 1]))
    objective(Z, torch.tensor([0, 1, 3, 3, 0, 0, 1, 1]))
    assert objective.row_weights.weights.tolist() == [0.75, 1.5, 1.0, 1.0]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("even", "balanced or one number per class, got 'even'"),
        ([1.0, -1.0], "finite numbers from 0 on"),
        ([0.0, 0.0], "not all of them 0"),
        ([1.0, float("nan")], "finite numbers"),
        ([[1.0]], "needs class_weights as"),
        (["a"], "needs class_weights as"),
        ([1.0, 2.0, 3.0], "must be 4 numbers, one for each class, got 3"),
    ],
)
def test_other_weights_are_refused(weights, message):
    with pytest.raises(InputError, match=message):
        drkd.cross_entropy(class_weights=weights)(Z, Y)


def test_a_method_that_takes_no_options_refuses_them(monkeypatch):
    monkeypatch.setitem(
        registry._FOUND, "ols", replace(registry.get_method("ols"), make=lambda alpha=0.5: drkd.ols(alpha))
    )
    assert create("ols", {"alpha": 0.2}).name == "ols"
    with pytest.raises(InputError, match="ols takes no class weights; leave --class-weights out"):
        create("ols", {}, class_weights="balanced")


def test_detection_refuses_them():
    from drkd.tasks.detection import DetectionData, DetectionSplit, create_detector

    box = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    split = DetectionSplit.of([torch.zeros(3, 48, 64, dtype=torch.uint8)] * 2, [box] * 2)
    data = DetectionData("made up", ("cell",), 64, train=split, val=split, test=split)
    detector = create_detector("small_ssd", num_classes=1, image_size=64)
    with pytest.raises(InputError, match="detection takes no class weights"):
        drkd.fit(detector, drkd.cross_entropy(class_weights=[1.0, 1.0]), data, epochs=1)
    with pytest.raises(InputError, match="detection takes no --sampler balanced"):
        drkd.fit(detector, drkd.cross_entropy(), data, epochs=1, sampler="balanced")
