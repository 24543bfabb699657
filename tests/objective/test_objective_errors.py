"""What an objective refuses, and what it warns of."""

import warnings

import pytest
import torch

import drkd
from drkd import InputError, NonFiniteLossError, Objective, OneHot, Term

K = 7
Z, V = torch.randn(2, 5, K, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 3, 4])


def dr_kd(**options):
    return drkd.dr_kd(lambda inputs: V, 0.5, 4.0, **options)


def test_non_finite_logits_are_reported_with_the_method():
    with pytest.raises(NonFiniteLossError, match=r"`cross_entropy` is NaN or infinite .*: the student's logits"):
        drkd.cross_entropy()(Z * float("nan"), Y)


def test_a_bad_teacher_is_reported_with_the_part():
    with pytest.raises(NonFiniteLossError, match="the part 'soft'"):
        drkd.kd(lambda inputs: V * float("nan"))(Z, Y, inputs=Z)


def test_extreme_weights_are_warned_of():
    with pytest.warns(UserWarning, match="weighs its soft target 360 times"):
        drkd.tf_kd_reg(alpha=0.9, temperature=20.0)


def test_reference_weights_are_warned_of_once_the_classes_are_known():
    """alpha .95, T 6, multiplier 50 at 10 classes: 171 times."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        objective = drkd.kd(lambda inputs: V, 0.95, 6.0, convention="reference", multiplier=50.0)
        assert objective.effective_weights(100)["soft"] == pytest.approx(17.1)
    with pytest.warns(UserWarning, match="171 times"):
        assert objective.effective_weights(10)["soft"] == pytest.approx(171)


def test_all_weights_zero_is_an_error():
    with pytest.raises(InputError, match="every term of `nothing` has weight 0"):
        Objective("nothing", [Term(OneHot(), 0.0, name="ce")])(Z, Y)


def test_unknown_reduction_is_an_error():
    with pytest.raises(InputError, match="reduction must be"):
        drkd.cross_entropy(reduction="mean")
    with pytest.raises(InputError, match="reduction must be"):
        drkd.cross_entropy()(Z, Y, reduction="mean")


def test_a_loss_that_is_not_finite_names_its_samples():
    logits = torch.zeros(8, K)
    logits[[1, 5], 0] = float("nan")
    index = torch.arange(8) + 100
    with pytest.raises(NonFiniteLossError, match=r"\(sample 101, 105\): the student's logits"):
        drkd.ps_kd()(logits, Y[:1].expand(8), index=index)
    with pytest.raises(NonFiniteLossError, match=r"\(row 1, 5\): the student's logits"):
        drkd.cross_entropy()(logits, Y[:1].expand(8))
    taught = V[:1].expand(8, K).clone()
    taught[1:, 0] = float("inf")
    with pytest.raises(
        NonFiniteLossError, match=r"\(sample 101, 102, 103, 104, 105 and 2 more\): the part 'soft' is not"
    ):
        drkd.kd(lambda _: taught, 0.5)(Z[:1].expand(8, K), Y[:1].expand(8), inputs=Z, index=index)
