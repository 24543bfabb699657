import copy
import pickle
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import drkd
from drkd import Frozen, InputError, Memory, Objective, OneHot, Rectified, Target, Term, Uniform
from drkd.data.loader import Batch
from drkd.methods import all_methods
from drkd.methods.registry import create

K = 7
Z, V = torch.randn(2, 5, K, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 3, 4])


def dr_kd(**options):
    return drkd.dr_kd(lambda inputs: V, 0.5, 4.0, **options)


def test_parts_add_up_to_the_loss_and_are_detached():
    losses = dr_kd()(Z.clone().requires_grad_(), Y, inputs=Z)
    assert losses["ce"] + losses["soft"] == pytest.approx(losses["loss"].item())
    assert list(losses) == ["loss", "ce", "soft", "soft_kl", "rectified"]
    assert [name for name, value in losses.items() if value.requires_grad] == ["loss"]


def test_kl_part_is_the_plain_divergence():
    losses = drkd.tf_kd_self(lambda inputs: V, 0.3, 4.0)(Z, Y, inputs=Z)
    expected = F.kl_div((Z / 4).log_softmax(1), (V / 4).log_softmax(1), reduction="batchmean", log_target=True)
    assert losses["soft_kl"].item() == pytest.approx(expected.item())


def test_rectified_part_is_the_teachers_error_rate():
    assert dr_kd()(Z, Y, inputs=Z)["rectified"].item() == pytest.approx((V.argmax(1) != Y).double().mean().item())


def test_rectified_counts_rows_that_a_rectifier_took_out():
    objective = dr_kd(rectify=lambda logits, labels: (logits, logits.argmax(1) == labels))
    losses = objective(Z, Y, inputs=Z)
    assert losses["rectified"].item() == pytest.approx((V.argmax(1) != Y).double().mean().item())


def test_reductions_agree():
    rows = dr_kd(reduction="none")(Z, Y, inputs=Z)["loss"]
    assert rows.shape == (5,)
    assert dr_kd(reduction="sum")(Z, Y, inputs=Z)["loss"].item() == pytest.approx(rows.sum().item())
    assert dr_kd()(Z, Y, inputs=Z)["loss"].item() == pytest.approx(rows.mean().item())


def test_ignored_rows_do_not_count_whatever_their_label():
    labels = Y.clone()
    labels[2] = 255
    ours = dr_kd(ignore_index=255)(Z, labels, inputs=Z)
    keep = [0, 1, 3, 4]
    expected = drkd.dr_kd(lambda inputs: V[keep], 0.5, 4.0)(Z[keep], Y[keep], inputs=Z)
    assert {name: value.item() for name, value in ours.items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}
    )


def test_a_batch_of_ignored_rows_has_loss_zero_and_gradient_zero():
    logits = Z.clone().requires_grad_()
    loss = dr_kd()(logits, torch.full_like(Y, -100), inputs=Z)["loss"]
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_dense_logits_equal_their_rows():
    logits, teacher, labels = torch.randn(2, K, 3, 4), torch.randn(2, K, 3, 4), torch.randint(0, K, (2, 3, 4))
    labels[0, 0, 0] = -100
    flat = lambda dense: dense.movedim(1, -1).reshape(-1, K)
    ours = drkd.dr_kd(lambda inputs: teacher)(logits, labels, inputs=logits)
    rows = drkd.dr_kd(lambda inputs: flat(teacher))(flat(logits), labels.reshape(-1), inputs=logits)
    assert ours["loss"].item() == pytest.approx(rows["loss"].item(), rel=1e-5)
    assert ours["rectified"].item() == pytest.approx(rows["rectified"].item())


def test_rows_without_a_target_become_plain_cross_entropy():
    objective = drkd.online_dr_kd(0.7, 3.0)
    loss = objective(Z, Y, index=torch.arange(5))["loss"]
    assert loss.item() == pytest.approx(F.cross_entropy(Z, Y).item())


def test_a_term_of_weight_zero_is_not_computed():
    def never(inputs):
        raise AssertionError("asked for nothing")

    losses = drkd.dr_kd(never, alpha=0.0)(Z, Y, inputs=Z)
    assert torch.equal(losses["loss"], F.cross_entropy(Z, Y))
    assert losses["soft"] == 0


def test_calling_changes_nothing():
    objective = drkd.online_dr_kd()
    first = [objective(Z, Y, index=torch.arange(5))["loss"] for _ in range(2)]
    assert torch.equal(*first)
    assert (objective.progress, objective.epoch) == (0.0, 0)


def test_update_moves_progress_and_epoch_only_where_given():
    objective = drkd.cross_entropy()
    objective.update(progress=0.5)
    objective.update(epoch=3)
    objective.update()
    assert (objective.progress, objective.epoch) == (0.5, 3)


def test_weights_follow_progress():
    soft = Term(Uniform(), lambda progress, epoch: progress, name="soft")
    objective = Objective("fading", [Term(OneHot(), name="ce"), soft])
    before = objective(Z, Y)["soft"]
    objective.update(progress=0.5)
    assert before == 0
    assert objective(Z, Y)["soft"] > 0


def test_needs_are_those_of_the_targets():
    terms = [Term(Rectified(Memory()), name="a"), Term(Frozen(nn.Identity()), name="b")]
    assert Objective("both", terms).needs == {"index", "inputs"}
    batches = [Term(Rectified(drkd.LastBatch()), name="a"), Term(drkd.Partner(), name="b")]
    assert Objective("both", batches).needs == {"index", "pairs", "replay"}


@pytest.mark.parametrize("method", all_methods())
def test_every_method_names_its_parts_and_says_its_weights(method):
    """Those that add up to the loss are the terms; whatever a batch can bring is asked for by name."""
    objective = create(method, {}, teacher=lambda inputs: V[:4], epochs=3)
    served = Batch(Z[:4], Y[:4], torch.arange(4), 1.0)
    objective.prepare(SimpleNamespace(split=Y[:4], batches=lambda: [served]))
    objective.update(progress=0.5)
    labels = Y[:4].where(torch.tensor([True, True, False, False]), -100)
    losses = objective(Z[:4], labels, inputs=Z, index=torch.arange(4))
    weights = objective.effective_weights(K)
    assert sum(losses[name] for name in weights).item() == pytest.approx(losses["loss"].item())
    assert set(losses) - set(weights) <= {"loss", "rectified", *(f"{name}_kl" for name in weights)}
    assert objective.name == method
    assert objective.describe_weights().startswith(f"{method}: {next(iter(weights))} ")
    assert objective.needs <= {"inputs", "index", "pairs", "replay"}


def test_penalties_stand_among_the_weights():
    objective = drkd.max_sup(0.3, initial_weight=0.1)
    assert objective.effective_weights(10) == {"ce": 1.0, "max": 0.3}
    assert objective.describe_weights() == "max_sup: ce 1, max 0.3"


def test_the_student_is_rectified_before_every_term_sees_it():
    """By any function; it gets wide logits, and labels that are ignored under their one name."""
    seen = []

    def double(logits, labels):
        seen.append((logits.dtype, labels.tolist()))
        return 2 * logits

    terms = [Term(OneHot(), 0.5, name="ce"), Term(Uniform(), 0.5, name="soft")]
    labels = torch.tensor([0, 1, 255, 3, 4])
    logits = Z.to(torch.bfloat16).requires_grad_()
    ours = Objective("doubled", terms, ignore_index=255, rectify_student=double)(logits, labels)["loss"]
    plain = (2 * logits).detach().float().requires_grad_()
    expected = Objective("plain", terms, ignore_index=255)(plain, labels)["loss"]
    assert ours.item() == pytest.approx(expected.item())
    assert seen == [(torch.float32, [0, 1, -100, 3, 4])]
    (gradient,) = torch.autograd.grad(ours, logits)
    assert torch.allclose(gradient.float(), 2 * torch.autograd.grad(expected, plain)[0], rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32(dtype):
    losses = dr_kd()(Z.to(dtype), Y, inputs=Z)
    assert losses["loss"].item() == pytest.approx(dr_kd()(Z.to(dtype).double(), Y, inputs=Z)["loss"].item(), rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_gives_the_float32_loss_to_half_precision(dtype):
    student, teacher, inputs = nn.Linear(4, K), nn.Linear(4, K), torch.randn(5, 4)
    objective = drkd.dr_kd(teacher, 0.5, 4.0)
    exact = objective(student(inputs), Y, inputs=inputs)["loss"]
    with torch.autocast("cpu", dtype):
        rough = objective(student(inputs), Y, inputs=inputs)["loss"]
    assert rough.dtype is torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=2e-2)


def test_labels_out_of_range_are_refused():
    with pytest.raises(InputError, match="labels from 0 to 6"):
        drkd.cross_entropy()(Z, Y + 4)


@pytest.mark.parametrize("method", [drkd.kd, drkd.dr_kd])
@pytest.mark.parametrize("teacher", [lambda inputs: V[:, :3], lambda inputs: torch.cat([V, V], dim=1)])
def test_a_teacher_of_other_classes_is_refused(method, teacher):
    with pytest.raises(InputError, match="teacher and student need the same classes"):
        method(teacher)(Z, Y, inputs=Z)


@pytest.mark.parametrize(("objective", "what"), [(drkd.ps_kd(), "index"), (dr_kd(), "inputs")])
def test_missing_needs_are_named(objective, what):
    with pytest.raises(InputError, match=f"needs the batch's {what}, got none"):
        objective(Z, Y)


@pytest.mark.parametrize("made_for", ["none", "sum", "batchmean"])
@pytest.mark.parametrize("asked", ["none", "sum", "batchmean"])
def test_a_call_may_ask_for_another_reduction(made_for, asked):
    ours, theirs = (dr_kd(reduction=how)(Z, Y, inputs=Z, reduction=asked) for how in (made_for, asked))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_every_target_is_found_once_and_after_a_copy():
    class Around(Target):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.seen = inner, []

        def update(self, epoch=0):
            self.seen.append(epoch)

    shared = Around(Memory())
    objective = Objective("twice", [Term(OneHot(), name="ce"), Term(shared, name="a"), Term(shared, name="b")])
    assert [type(target) for target in objective.targets] == [OneHot, Around, Memory]
    copies = [copy.deepcopy(objective), pickle.loads(pickle.dumps(drkd.online_dr_kd())), objective.to(torch.float64)]
    for other in copies:
        inside = {id(module) for module in other.modules()}
        assert all(id(target) in inside for target in other.targets)
    objective.update(epoch=2)
    assert shared.seen == [2]


@pytest.mark.parametrize("index", [0, 1])
def test_an_ignored_label_that_is_a_class_does_not_count(index):
    labels = torch.tensor([0, 1, 1, 0, 1])
    ours = drkd.cross_entropy(ignore_index=index)(Z, labels)["loss"]
    assert ours.item() == pytest.approx(F.cross_entropy(Z, labels, ignore_index=index).item())


def test_moves_and_saves_as_a_module():
    objective = drkd.online_dr_kd()
    objective(Z, Y, index=torch.arange(5))
    objective.update()
    other = drkd.online_dr_kd()
    other.load_state_dict(objective.state_dict())
    results = [o(Z, Y, index=torch.arange(5))["loss"] for o in (objective, other)]
    assert torch.equal(*results)
