import itertools

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, precision_recall_fscore_support
from torchmetrics.functional.classification import multiclass_calibration_error

import drkd
from drkd.data.loader import Loader
from drkd.training.metrics import calibration_error, measure, predict_logits, risk_coverage_area


def case(n=400, k=5):
    return 2 * torch.randn(n, k), torch.randint(0, k, (n,))


def test_ece_equals_torchmetrics():
    logits, labels = case()
    expected = multiclass_calibration_error(logits.softmax(1), labels, 5, n_bins=15, norm="l1")
    assert measure(logits, labels).ece == pytest.approx(expected.item(), abs=1e-6)


def test_nll_equals_sklearn():
    logits, labels = case()
    expected = log_loss(labels.numpy(), logits.double().softmax(1).numpy(), labels=range(5))
    assert measure(logits, labels).nll == pytest.approx(expected, rel=1e-9)


def test_means_over_classes_and_each_class_equal_sklearn():
    """Class 2 has no samples and is predicted, class 4 is never predicted, class 5 is neither."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 0, 0, 1, 1, 3, 4])[torch.randint(0, 7, (60,), generator=draw)]
    logits = torch.randn(60, 6, generator=draw)
    logits[torch.arange(60), labels] += 1
    logits[:, 4:] = -9
    found, predicted = measure(logits, labels, ["a", "b", "c", "d", "e", "f"]), logits.argmax(1)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert list(found.per_class) == ["a", "b", "c", "d", "e"]
    theirs = precision_recall_fscore_support(labels, predicted, labels=range(5), zero_division=0)
    rows = [(row["precision"], row["recall"], row["f1"], row["samples"]) for row in found.per_class.values()]
    np.testing.assert_allclose(np.array(rows).T, theirs)


def test_ignored_labels_are_in_no_class():
    found = measure(torch.eye(2)[[0, 1, 1]], torch.tensor([0, 1, -100]))
    assert (found.balanced_accuracy, found.macro_f1) == (1.0, 1.0)
    assert [row["samples"] for row in found.per_class.values()] == [1, 1]


def test_aurc_equals_its_definition():
    confidence, correct = torch.rand(60), torch.rand(60) < 0.7
    order = np.argsort(-confidence.numpy())
    errors = (~correct.numpy())[order]
    expected = np.mean([errors[: k + 1].mean() for k in range(60)])
    assert risk_coverage_area(confidence, correct) == pytest.approx(expected)


def test_aurc_of_ties_is_the_mean_over_their_orders_and_does_not_depend_on_the_order():
    """The oracle goes through every order of seven samples, four of them tied and two."""
    confidence = torch.tensor([0.5, 0.9, 0.5, 0.7, 0.5, 0.9, 0.5])
    correct = torch.tensor([True, False, False, True, True, True, False])
    orders = [list(order) for order in itertools.permutations(range(7))]
    sorted_orders = [order for order in orders if (confidence[order].diff() <= 0).all()]
    coverage = np.arange(1, 8)
    curves = [np.cumsum(~correct[order].numpy()) / coverage for order in sorted_orders]
    assert len(sorted_orders) == 4 * 3 * 2 * 2
    assert risk_coverage_area(confidence, correct) == pytest.approx(np.mean(curves))
    many = (10 * torch.rand(300)).round() / 10
    right = torch.rand(300) < many
    values = {risk_coverage_area(many[order], right[order]) for order in (torch.randperm(300) for _ in range(20))}
    assert len(values) == 1


def test_aurc_is_lowest_when_errors_come_last():
    confidence = torch.linspace(1, 0.5, 10)
    last = torch.tensor([True] * 8 + [False] * 2)
    assert risk_coverage_area(confidence, last) < risk_coverage_area(confidence, last.flip(0))


def test_a_sure_and_right_classifier_has_no_error_at_all():
    found = measure(1000 * torch.eye(4), torch.arange(4))
    assert (found.accuracy, found.nll, found.ece, found.aurc) == (1.0, 0.0, 0.0, 0.0)


def test_a_diverged_network_is_an_error():
    with pytest.raises(drkd.NonFiniteLossError, match="has diverged"):
        measure(torch.tensor([[float("nan"), 0.0]]), torch.tensor([0]))


def test_reliability_counts_everything():
    logits, labels = case()
    found = measure(logits, labels)
    assert sum(count for count, _, _ in found.reliability) == 400
    weighted = sum(count * accuracy for count, _, accuracy in found.reliability) / 400
    assert weighted == pytest.approx(found.accuracy)


def test_calibration_error_by_hand():
    confidence = torch.tensor([0.95, 0.95, 0.55, 0.55])
    correct = torch.tensor([True, True, True, False])
    assert calibration_error(confidence, correct) == pytest.approx(0.5 * 0.05 + 0.5 * 0.05, abs=1e-7)


def test_evaluating_leaves_the_mode_alone():
    data = drkd.load_data("digits", limit_train=50)
    model = drkd.create_model("small_cnn", num_classes=10, image_size=8, channels=1).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logits, labels = predict_logits(model, Loader(data, data.val, batch_size=100, training=False))
    assert model.training
    assert logits.shape == (144, 10)
    assert torch.equal(labels, data.val.labels)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
