"""What an objective refuses, and what it warns of."""

import re
import warnings
from types import SimpleNamespace

import pytest
import torch

import drkd
from drkd import InputError, NonFiniteLossError, Objective, OneHot, Term

K = 7
Z, V = torch.randn(2, 5, K, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 3, 4])


def dr_kd(**options):
    return drkd.dr_kd(lambda inputs: V, 0.5, 4.0, **options)


@pytest.mark.parametrize("progress", [5, -0.1, 1.0001, float("nan"), "0.5", True])
def test_progress_outside_of_the_training_is_refused(progress):
    objective = drkd.ps_kd()
    with pytest.raises(InputError, match=r"progress must lie in \[0, 1\], got"):
        objective.update(progress=progress)
    assert objective.progress == 0


@pytest.mark.parametrize("epoch", [-1, 0.5, "1"])
def test_an_epoch_is_counted(epoch):
    with pytest.raises(InputError, match="epoch must be a whole number from 0 on"):
        drkd.ols().update(epoch=epoch)


REFUSED = [
    (lambda: drkd.kd(lambda x: x, alpha=float("nan")), "alpha must lie in [0, 1], got nan"),
    (lambda: drkd.kd(lambda x: x, alpha="0.5"), "alpha must lie in [0, 1], got '0.5'"),
    (lambda: drkd.kd(lambda x: x, temperature=float("inf")), "temperature must be above 0, got inf"),
    (lambda: drkd.kd(lambda x: x, convention="reference", multiplier=-1), "multiplier must be above 0, got -1"),
    (
        lambda: drkd.kd("runs/teacher"),
        "a teacher must be a network, a function from inputs to logits, or a target, got 'ru",
    ),
    (lambda: drkd.kd(None), "or a target, got None; load a run's network with drkd.load_model"),
    (lambda: drkd.cs_kd(weight=float("nan")), "weight must be at least 0, got nan"),
    (lambda: drkd.max_sup(initial_weight=-1), "initial_weight must be at least 0, got -1"),
    (lambda: drkd.ps_kd(epochs=0), "epochs must be a whole number from 1 on, got 0"),
    (lambda: drkd.ps_kd(keep=True), "`Memory` keeps full, half or a number of logits above 0, got True"),
    (
        lambda: Term(torch.nn.Linear(2, 2), name="soft"),
        "a term needs a target, got Linear; a network is one as",
    ),
    (lambda: drkd.Memory(size=-1), "size must be a whole number from 0 on, got -1"),
    (lambda: drkd.Ema(lambda x: x), "`Ema` averages a network, got function"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_choices_are_checked_as_on_the_command_line(make, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ({"logits": Z}, Y, "`cross_entropy` needs a tensor of logits, got dict; use the logits in its output"),
        (Z.numpy(), Y, "`cross_entropy` needs a tensor of logits, got ndarray"),
        (Z, Y.numpy(), "`cross_entropy` needs a tensor of integer labels, got ndarray; pass torch.as_tensor(labels)"),
        (Z, Y.tolist(), "`cross_entropy` needs a tensor of integer labels, got list"),
        (
            Z.long(),
            Y,
            "`cross_entropy` needs float logits, got int64 (5, 7); use the network's output before",
        ),
    ],
)
def test_what_is_no_tensor_of_logits_or_labels_is_refused(logits, labels, message):
    with pytest.raises(InputError, match=re.escape(message)):
        drkd.cross_entropy()(logits, labels)


INDEXED = {
    "ps_kd": lambda: drkd.ps_kd(epochs=4),
    "online_dr_kd": drkd.online_dr_kd,
    "dlb": drkd.dlb,
    "kd_clean_view": lambda: drkd.kd_clean_view(lambda x: Z),
}


@pytest.mark.parametrize("name", INDEXED)
@pytest.mark.parametrize(
    ("index", "message"),
    [
        (torch.tensor([0, 1, -1, 2, 3]), "needs an index from 0 on, got -1; number the samples"),
        (torch.arange(5.0), "needs the samples' index as a tensor of integers (5,), got torch.float32"),
        (torch.ones(5, dtype=torch.bool), "needs the samples' index as a tensor of integers (5,), got torch.bool"),
        ([0, 1, 2, 3, 4], "needs the samples' index as a tensor of integers (5,), got list; pass torch.as_tensor"),
        (torch.arange(4), "needs the index of 5 samples (5,), got (4,)"),
    ],
)
def test_an_index_that_cannot_be_one_is_refused(name, index, message):
    with pytest.raises(InputError, match=re.escape(message)):
        INDEXED[name]()(Z, Y, index=index)


def test_an_index_beyond_what_was_shown_is_refused():
    objective = drkd.kd_clean_view(lambda inputs: Z)
    objective.prepare(SimpleNamespace(split=range(5), batches=lambda: [SimpleNamespace(inputs=Z)]))
    assert objective(Z, Y, index=torch.arange(5))["loss"].isfinite()
    with pytest.raises(InputError, match="`CleanView` was shown 5 samples, got the index 5; call `prepare`"):
        objective(Z, Y, index=torch.arange(1, 6))


def test_non_finite_logits_are_reported_with_the_method():
    with pytest.raises(NonFiniteLossError, match=r"`cross_entropy` is NaN or infinite .*: the student's logits"):
        drkd.cross_entropy()(Z * float("nan"), Y)


def test_a_bad_teacher_is_reported_with_the_part():
    with pytest.raises(NonFiniteLossError, match="the part 'soft'"):
        drkd.kd(lambda inputs: V * float("nan"))(Z, Y, inputs=Z)


def test_extreme_weights_are_warned_of():
    with pytest.warns(UserWarning, match="weighs its soft target 360 times"):
        drkd.tf_kd_reg(alpha=0.9, temperature=20.0)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("linear", r"weighs its soft target 380 times at first: above 100"),
        ("cosine", r"weighs its soft target 380 times at first: above 100"),
        ("rising", r"weighs its soft target 380 times: above 100"),
    ],
)
def test_extreme_weights_that_fall_or_rise_are_warned_of(schedule, message):
    """alpha .95 and T 20: 0.95 * 400 at the start or at the end; with alpha .24 it is 96, which nobody is warned of."""
    with pytest.warns(UserWarning, match=message):
        drkd.kd(lambda inputs: V, 0.95, 20.0, alpha_schedule=schedule)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        objective = drkd.kd(lambda inputs: V, 0.24, 20.0, alpha_schedule=schedule)
        assert objective.effective_weights(10)["soft"] == pytest.approx(96.0 if schedule == "rising" else 0.0)


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
