"""The temperature of probabilities, against searches that share no code with the fit."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from drkd import InputError, NonFiniteLossError, fit_temperature
from drkd.training.calibration import BOUNDS
from drkd.training.metrics import measure


def drawn(seed, samples=60, classes=4, several=False):
    """Logits that are right more often than not, and labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    if several:
        return logits, (torch.rand(samples, classes, generator=generator) < (logits / 3).sigmoid()).long()
    return logits, torch.multinomial((logits / 1.7).softmax(dim=1), 1, generator=generator).squeeze(1)


def nll(logits, labels, temperature):
    """Written out in numpy."""
    z, y = np.asarray(logits) / temperature, np.asarray(labels)
    if y.ndim == 2:
        return np.log1p(np.exp(np.where(y == 1, -z, z))).mean()
    return (np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), y]).mean()


@pytest.mark.parametrize("several", [False, True])
def test_it_is_where_a_grid_and_lbfgs_find_the_least_nll(several):
    logits, labels = drawn(0, several=several)
    found = fit_temperature(logits, labels)
    grid = np.exp(np.linspace(np.log(0.5), np.log(5), 4001))
    assert found == pytest.approx(grid[np.argmin([nll(logits, labels, t) for t in grid])], rel=1e-3)
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_t], lr=0.5, max_iter=200, tolerance_grad=1e-12, tolerance_change=0)

    def closure():
        optimizer.zero_grad()
        scaled = logits / log_t.exp()
        loss = (
            F.binary_cross_entropy_with_logits(scaled, labels.double()) if several else F.cross_entropy(scaled, labels)
        )
        loss.backward()
        return loss

    optimizer.step(closure)
    assert found == pytest.approx(log_t.exp().item(), rel=1e-5)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.floats(0.3, 4), several=st.booleans(), separated=st.booleans())
def test_logits_scaled_by_c_have_c_times_the_temperature(seed, factor, several, separated):
    logits, labels = drawn(seed, several=several)
    if separated:
        labels = (logits > 0).long() if several else logits.argmax(dim=1)
    one, scaled = fit_temperature(logits, labels), fit_temperature(factor * logits, labels)
    assert BOUNDS[0] < one < BOUNDS[1]
    if BOUNDS[0] < factor * one < BOUNDS[1]:
        assert scaled == pytest.approx(factor * one, rel=1e-4)


def test_a_split_without_a_mistake_leaves_as_much_doubt_as_its_size_does():
    for samples in (8, 98):
        logits = torch.tensor([[3.0, 0.0]]).repeat(samples, 1)
        wrong = 1 - (logits / fit_temperature(logits, torch.zeros(samples, dtype=torch.long))).softmax(dim=1)[0, 0]
        assert wrong.item() == pytest.approx(1 / (samples + 2), rel=1e-3)


def test_what_cannot_be_fitted_stays_as_it_is():
    labels = torch.tensor([0, 1])
    assert fit_temperature(torch.zeros(2, 3), labels) == 1  # as good at every temperature
    assert fit_temperature(torch.zeros(0, 3), labels[:0]) == 1
    assert fit_temperature(torch.randn(2, 3), torch.full((2,), -100)) == 1
    assert fit_temperature(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), 1 - labels) == pytest.approx(BOUNDS[1])
    with pytest.raises(NonFiniteLossError, match="diverged"):
        fit_temperature(torch.tensor([[torch.nan, 0.0], [0.0, 1.0]]), labels)
    with pytest.raises(InputError, match="labels"):
        fit_temperature(torch.randn(2, 3), torch.zeros(3, dtype=torch.long))


def test_ignored_labels_do_not_count():
    logits, labels = drawn(3, several=True)
    known = torch.rand(labels.shape, generator=torch.Generator().manual_seed(1)) < 0.7
    flat = torch.stack([torch.zeros_like(logits), logits], dim=2)[known]
    masked = fit_temperature(logits, labels.where(known, -100))
    assert masked == pytest.approx(fit_temperature(flat, labels[known]), rel=1e-5)
    assert masked != pytest.approx(fit_temperature(logits, labels), rel=1e-4)


def test_metrics_beside_those_of_the_logits():
    logits, labels = drawn(1, samples=300)
    plain, both = measure(logits, labels), measure(logits, labels, temperature=1.7)
    scaled = measure(logits / 1.7, labels)
    assert (both.calibrated_nll, both.calibrated_ece) == (scaled.nll, scaled.ece)
    assert plain.temperature is None
    assert plain.calibrated_ece is None
    assert {
        name: value for name, value in vars(both).items() if "calibrated" not in name and name != "temperature"
    } == {name: value for name, value in vars(plain).items() if "calibrated" not in name and name != "temperature"}
    assert both.calibrated_nll < both.nll
    assert both.calibrated_ece < both.ece


def test_the_metrics_of_several_labels_have_them_too():
    from drkd.tasks.multilabel.metrics import measure as measure_several

    logits, labels = drawn(2, several=True)
    found = measure_several(logits, labels, ["a", "b", "c", "d"], temperature=3.0)
    assert found.calibrated_nll == pytest.approx(nll(logits, labels, 3.0))
    flat = torch.stack([torch.zeros_like(logits), logits], dim=2).flatten(0, 1)
    assert found.ece == pytest.approx(measure(flat, labels.flatten()).ece)
    assert found.calibrated_ece == pytest.approx(measure(flat / 3, labels.flatten()).ece)
