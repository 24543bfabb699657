import pytest
import torch
import torch.nn.functional as F

import drkd
from drkd import (
    Frozen,
    InputError,
    Objective,
    OneHot,
    Penalty,
    Rectified,
    StudentBatch,
    Target,
    TargetOutput,
    Term,
    Uniform,
)
from drkd.objective.losses import max_over_mean
from drkd.objective.protocol import end_step
from drkd.objective.terms import LAST_EPOCH, LossTerm

Z, V = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
Y = torch.tensor([0, 2, 1, -100])


class Some(Target):
    """Teaches `V`, and only the rows given."""

    def __init__(self, *taught):
        super().__init__()
        self.taught = torch.tensor(taught)
        self.calls = []

    def forward(self, batch):
        return TargetOutput(V, batch.per_row(self.taught))

    def update(self, epoch=0):
        self.calls.append(("update", epoch))

    def discard(self):
        self.calls.append(("discard",))

    def end_epoch(self, epoch):
        self.calls.append(("end_epoch", epoch))


def soft(logits=Z):
    """CE(softmax(V), softmax(logits)) of each row."""
    return -(V.softmax(1) * logits.log_softmax(1)).sum(1)


def ask(term, reduction="none"):
    return term(Z, StudentBatch(Z, Y), reduction)


def test_a_row_without_a_target_becomes_its_label_or_nothing():
    """Of rows 0 to 2, which count, the target teaches 0 and 2; of row 3 nothing counts though it is taught."""
    target, hard = Some(True, False, True, True), F.cross_entropy(Z, Y, reduction="none")
    by_label = ask(Term(target, name="soft"))
    assert by_label["loss"].tolist() == pytest.approx([soft()[0].item(), hard[1].item(), soft()[2].item(), 0])
    assert "rows" not in by_label
    nothing = ask(Term(target, name="soft", without_target="nothing"))
    assert nothing["loss"].tolist() == pytest.approx([soft()[0].item(), 0, soft()[2].item(), 0])
    assert nothing["rows"].tolist() == [True, False, True, False]
    assert nothing["kl"].tolist() == by_label["kl"].tolist()
    assert nothing["kl"][1] == 0


@pytest.mark.parametrize("without_target", ["label", "nothing"])
def test_sums_are_those_of_the_rows(without_target):
    term = Term(Rectified(Some(True, False, True, True)), name="soft", scale=2.5, without_target=without_target)
    rows, sums = ask(term), ask(term, "sum")
    assert {name: value.item() for name, value in sums.items()} == pytest.approx(
        {name: value.double().sum().item() for name, value in rows.items()}
    )


def test_the_mean_is_over_the_rows_that_are_taught_or_over_those_that_count():
    """Beside a hard term, whose mean stays over all that count."""
    target = Some(True, False, True, True)
    means = {}
    for without_target in ("nothing", "label"):
        terms = [Term(OneHot(), name="ce"), Term(target, 0.5, name="soft", without_target=without_target)]
        means[without_target] = Objective("some", terms)(Z, Y)
    hard = F.cross_entropy(Z, Y, reduction="none")
    taught = soft()[[0, 2]]
    assert means["nothing"]["soft"].item() == pytest.approx(0.5 * taught.mean().item())
    assert means["label"]["soft"].item() == pytest.approx(0.5 * (taught.sum() + hard[1]).item() / 3)
    divergence = F.kl_div(Z.log_softmax(1), V.softmax(1), reduction="none").sum(1)[[0, 2]]
    assert means["nothing"]["soft_kl"].item() == pytest.approx(divergence.mean().item())
    for losses in means.values():
        assert losses["ce"].item() == pytest.approx(hard.sum().item() / 3)


def test_no_gradient_reaches_the_target():
    class Learned(Target):
        def forward(self, batch):
            return TargetOutput(teacher)

    teacher, logits = V.clone().requires_grad_(), Z.clone().requires_grad_()
    Objective("learned", [Term(Rectified(Learned()), name="soft")])(logits, Y)["loss"].backward()
    assert teacher.grad is None
    assert logits.grad.any()


def test_nobody_taught_is_zero_and_no_gradient():
    logits = Z.clone().requires_grad_()
    terms = [Term(Some(False, False, False, False), name="soft", without_target="nothing")]
    loss = Objective("none", terms)(logits, Y)["loss"]
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_class_mean_divides_the_divergence_by_the_classes():
    ours = ask(Term(Some(True, True, False, True), name="soft", class_mean=True, without_target="nothing"))
    divergence = F.kl_div(Z.log_softmax(1), V.softmax(1), reduction="none").sum(1)
    assert ours["loss"].tolist() == pytest.approx([divergence[0].item() / 3, divergence[1].item() / 3, 0, 0])


def test_a_rectifier_that_takes_rows_out_changes_them():
    """The target is right in row 0, wrong in 1 and 2. Row 1 had none to begin with: nothing of it was changed."""
    term = Term(Rectified(Some(True, False, True, True), "drop"), name="soft", without_target="nothing")
    assert (V.argmax(1) != Y).tolist() == [False, True, True, True]
    losses = ask(term)
    assert losses["rectified"].tolist() == [0, 0, 1, 0]
    assert losses["rows"].tolist() == [True, False, False, False]


def test_update_and_discard_reach_the_target_with_the_epoch():
    target = Some(True, True, True, True)
    objective = Objective("some", [Term(target, name="soft"), Penalty(max_over_mean, name="max")])
    objective.update(epoch=3)
    objective.update(progress=0.5)
    objective.discard()
    assert target.calls == [("update", 3), ("update", 3), ("discard",)]
    assert (objective.progress, objective.epoch) == (0.5, 3)
    objective.discard(progress=0.75, epoch=4)
    assert target.calls[3:] == [("discard",), ("end_epoch", 4)]
    assert (objective.progress, objective.epoch) == (0.75, 4)


def test_a_target_that_learns_is_called_in_training_while_its_weight_is_0():
    class Learning(Some):
        def forward(self, batch):
            self.calls.append("call")
            return super().forward(batch)

    class Plain(Learning):
        update = Target.update

    for target, calls in ((Learning, ["call"]), (Plain, [])):
        taught = target(True, True, True, True)
        objective = Objective("some", [Term(OneHot(), name="ce"), Term(Rectified(taught), 0.0, name="soft")])
        objective(Z, Y)
        objective.eval()(Z, Y)
        assert taught.calls == calls


def test_an_objective_whose_discard_takes_nothing_moves_all_the_same():
    class Older(Objective):
        def discard(self):
            calls.append("discard")

    calls, objective = [], Older("older", [Term(OneHot(), name="ce")])
    end_step(objective, made=False, progress=0.5, epoch=1)
    assert (calls, objective.progress, objective.epoch) == (["discard"], 0.5, 1)
    end_step(objective, made=True, progress=0.75, epoch=2)
    assert (calls, objective.progress, objective.epoch) == (["discard"], 0.75, 2)


def test_a_penalty_is_a_function_of_the_logits_on_rows_that_count():
    """exp(mean z): the derivative by each logit is a third of the value."""
    penalty = Penalty(lambda logits: logits.mean(dim=1).exp(), 0.5, name="mean")
    values = Z.mean(1).exp()
    assert ask(penalty)["loss"].tolist() == pytest.approx([*values[:3].tolist(), 0])
    assert ask(penalty, "sum")["loss"].item() == pytest.approx(values[:3].sum().item())
    logits = Z.clone().requires_grad_()
    losses = Objective("penalised", [Term(OneHot(), name="ce"), penalty])(logits, Y)
    losses["loss"].backward()
    assert losses["mean"].item() == pytest.approx(0.5 * values[:3].mean().item())
    onehot = torch.eye(3, dtype=torch.float64)[[0, 2, 1]]
    expected = (Z[:3].softmax(1) - onehot + 0.5 * values[:3, None] / 3) / 3
    assert torch.allclose(logits.grad, torch.cat([expected, torch.zeros(1, 3)]))


def test_a_penalty_covers_dense_logits():
    logits, labels = torch.randn(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long)
    labels[0, 1] = -100
    rows = Penalty(max_over_mean, name="max")(logits, StudentBatch(logits, labels), "none")["loss"]
    assert torch.equal(rows, (logits.amax(1) - logits.mean(1)) * (labels == 0))


def test_a_penalty_that_explodes_is_named():
    penalty = Penalty(lambda logits: logits.sum(dim=1) / 0, name="broken")
    with pytest.raises(drkd.NonFiniteLossError, match="the part 'broken'"):
        Objective("penalised", [Term(OneHot(), name="ce"), penalty])(Z, Y)


def test_final_weights_are_those_at_the_end_of_the_training():
    late = lambda progress, epoch: progress + (epoch >= LAST_EPOCH)
    assert LossTerm(late, "any").final_weight(10) == 2
    assert Penalty(max_over_mean, late, name="max").describe_weight() == "max 2"
    assert Term(Uniform(), late, name="soft", scale=4.0, class_mean=True).final_weight(10) == pytest.approx(0.8)
    assert Term(OneHot(), 0.25, name="ce").describe_weight() == "ce 0.25"
    soft = Term(Uniform(), 0.25, name="soft", scale=4.0, averaged_in_public=True)
    assert soft.describe_weight() == "soft 1 (public code: 1 K)"
    assert Term(Uniform(), 0.25, name="soft", scale=4.0).describe_weight() == "soft 1"
    assert (
        Term(Uniform(), 0.25, name="soft", scale=4.0, class_mean=True).describe_weight() == "soft 1/K (public code: 1)"
    )


def test_a_loss_term_needs_nothing_and_is_abstract():
    assert LossTerm(1.0, "any").needs == frozenset()
    with pytest.raises(NotImplementedError):
        ask(LossTerm(1.0, "any"))


def test_a_target_of_another_shape_is_refused_before_it_is_rectified():
    term = Term(Rectified(Frozen(lambda inputs: V[:, :2])), name="soft")
    with pytest.raises(InputError, match=r"Frozen gives logits \(4, 2\) for a student's \(4, 3\)"):
        ask(term)


def test_temperatures_soften_each_side_by_its_own():
    term = Term(Some(True, True, True, True), name="soft", scale=3.0, target_temperature=2.0, student_temperature=0.5)
    expected = -3 * ((V / 2).softmax(1) * (2 * Z).log_softmax(1)).sum(1)
    assert ask(term)["loss"].tolist() == pytest.approx([*expected[:3].tolist(), 0])


@pytest.mark.parametrize("reduction", ["none", "sum"])
@pytest.mark.parametrize("distributions", [False, True])
def test_a_term_of_labels_has_its_scale_and_temperature(distributions, reduction):
    """`-scale sum_k label_k log softmax(z / T)_k`, and its gradient; of the fourth row nothing counts."""
    label = torch.eye(3, dtype=torch.float64)[Y.clamp(min=0)]
    label = 0.75 * label + 0.25 * label[[1, 2, 0, 3]] if distributions else label
    batch = StudentBatch(Z, Y, mixed=drkd.MixedLabels(label) if distributions else None)
    logits = Z.clone().requires_grad_()
    counted = torch.tensor([1.0, 1.0, 1.0, 0.0])
    for options, scale, temperature in (
        ({"scale": 4.0, "student_temperature": 2.0}, 4.0, 2.0),
        ({"scale": 6.0, "class_mean": True}, 2.0, 1.0),
    ):
        ours = Term(OneHot(), name="ce", **options)(logits, batch, reduction)["loss"]
        expected = -scale * (label * (Z / temperature).log_softmax(1)).sum(1) * counted
        assert torch.allclose(ours, expected if reduction == "none" else expected.sum())
        slope = scale / temperature * ((Z / temperature).softmax(1) - label) * counted[:, None]
        assert torch.allclose(torch.autograd.grad(ours.sum(), logits)[0], slope)
