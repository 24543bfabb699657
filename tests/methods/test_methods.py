import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import drkd
from drkd import Ema, InputError, LastBatch, Partner
from drkd.methods.registry import create
from drkd.targets.rectify import drop, smooth
from oracles.public_code import softmax, swapped

Y = torch.tensor([0, 1, 2, 3, 4, 0])
Z, V = torch.randn(2, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
INDEX = torch.arange(6)
alphas, temperatures = st.floats(0, 1), st.floats(0.5, 8)


def gradient(objective, z=Z, y=Y):
    logits = z.clone().requires_grad_()
    objective(logits, y, inputs=z, index=INDEX)["loss"].backward()
    return logits.grad


def by_hand(target_probs, alpha, temperature, z=Z, valid=True):
    """Gradient of (1 - a) CE(y, z) + a T^2 CE(target, softmax(z / T)), mean over rows; CE(y, z) where not valid."""
    onehot = np.eye(5)[Y]
    hard = softmax(np.asarray(z)) - onehot
    soft = temperature * (softmax(np.asarray(z) / temperature) - target_probs)
    weight = alpha * np.broadcast_to(valid, len(Y))[:, None]
    return torch.tensor(((1 - weight) * hard + weight * soft) / len(Y))


@settings(deadline=None, max_examples=25, derandomize=True)
@given(alpha=alphas, temperature=temperatures)
def test_gradients_equal_the_formulas(alpha, temperature):
    v, y = V.numpy(), Y.numpy()
    virtual = np.full((6, 5), 0.01 / 4)
    virtual[np.arange(6), y] = 0.99
    cases = [
        (drkd.kd(lambda _: V, alpha, temperature), softmax(v / temperature)),
        (drkd.tf_kd_self(lambda _: V, alpha, temperature), softmax(v / temperature)),
        (drkd.dr_kd(lambda _: V, alpha, temperature), softmax(swapped(v, y) / temperature)),
        (drkd.tf_kd_reg(0.99, alpha, temperature), softmax(np.log(virtual) / temperature)),
    ]
    for objective, target in cases:
        assert torch.allclose(gradient(objective), by_hand(target, alpha, temperature), atol=1e-10)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(alpha=alphas, temperature=temperatures, seed=st.integers(0, 10**6))
def test_rectifiers_by_name_replace_or_drop_what_the_teacher_gets_wrong(alpha, temperature, seed):
    v, y = np.random.default_rng(seed).normal(size=(6, 5)), Y.numpy()
    right = v.argmax(axis=1) == y
    smoothed = np.full((6, 5), 0.1 / 4)
    smoothed[np.arange(6), y] = 0.9
    corrected = np.where(right[:, None], v, np.log(smoothed))
    expected = {
        "swap": by_hand(softmax(swapped(v, y) / temperature), alpha, temperature),
        "smooth": by_hand(softmax(corrected / temperature), alpha, temperature),
        "drop": by_hand(softmax(v / temperature), alpha, temperature, valid=right),
    }
    for name, gradient_by_hand in expected.items():
        objective = drkd.dr_kd(lambda _: torch.tensor(v), alpha, temperature, rectify=name)
        assert torch.allclose(gradient(objective), gradient_by_hand, atol=1e-10)
        if alpha:
            assert objective(Z, Y, inputs=Z)["rectified"].item() == pytest.approx(1 - right.mean())


@pytest.mark.parametrize(("name", "function"), [("smooth", smooth), ("drop", drop)])
def test_a_rectifier_is_the_same_by_name_and_as_a_function(name, function):
    by_name, by_function = (drkd.dr_kd(lambda _: V, 0.5, 2.0, rectify=rectify) for rectify in (name, function))
    assert torch.equal(gradient(by_name), gradient(by_function))


def test_dropping_a_teacher_that_is_always_wrong_leaves_cross_entropy():
    wrong = F.one_hot((Y + 1) % 5, 5).double()
    loss = drkd.dr_kd(lambda _: wrong, 0.7, 3.0, rectify="drop")(Z, Y, inputs=Z)["loss"]
    assert loss.item() == pytest.approx(F.cross_entropy(Z, Y).item())


@settings(deadline=None, max_examples=25, derandomize=True)
@given(alpha=alphas, temperature=temperatures, seed=st.integers(0, 10**6), reference=st.booleans())
def test_student_swap_gives_each_logit_the_gradient_of_its_swapped_place(alpha, temperature, seed, reference):
    """dL/dz is the gradient at z' = swap(z, y), permuted back: in both terms."""
    z, y = np.random.default_rng(seed).normal(size=(6, 5)), Y.numpy()
    z_swapped = swapped(z, y)
    options = {"convention": "reference", "multiplier": 5.0} if reference else {}
    objective = drkd.dr_kd(lambda _: V, alpha, temperature, student_swap=True, **options)
    plain = drkd.dr_kd(lambda _: V, alpha, temperature, **options)
    at_swapped = gradient(plain, torch.tensor(z_swapped)).numpy()
    if not reference:
        target = softmax(swapped(V.numpy(), y) / temperature)
        assert np.allclose(at_swapped, by_hand(target, alpha, temperature, z_swapped), atol=1e-10)
    expected = at_swapped.copy()
    for row, label, ours in zip(z, y, expected, strict=True):
        top = row.argmax()
        ours[[top, label]] = ours[[label, top]]
    assert np.allclose(gradient(objective, torch.tensor(z)), expected, atol=1e-10)
    both = [o(torch.tensor(x), Y, inputs=Z) for o, x in ((objective, z), (plain, z_swapped))]
    assert {name: value.item() for name, value in both[0].items()} == pytest.approx(
        {name: value.item() for name, value in both[1].items()}
    )


def test_student_swap_raises_the_wrong_class_and_changes_nothing_where_the_student_is_right():
    """The ablation's known flaw: on a mistake, a step along the gradient makes the mistake larger."""
    options = {"alpha": 0.0, "student_swap": True}
    objective = create("dr_kd", options, teacher=nn.Identity())
    z, y = torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([1])
    downhill = -gradient(objective, z, y)
    assert downhill[0, 0] > 0 > downhill[0, 1]
    right = torch.tensor([0])
    assert torch.equal(gradient(objective, z, right), gradient(drkd.cross_entropy(), z, right))


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5, 1.0])
def test_label_smoothing_equals_torch(epsilon):
    ours = drkd.label_smoothing(epsilon)(Z, Y)["loss"]
    assert ours.item() == pytest.approx(F.cross_entropy(Z, Y, label_smoothing=epsilon).item())


def test_cross_entropy_equals_torch_to_the_bit():
    z = torch.randn(64, 10)
    y = torch.randint(0, 10, (64,))
    assert torch.equal(drkd.cross_entropy()(z, y)["loss"], F.cross_entropy(z, y))


@pytest.mark.parametrize("name", ["kd", "tf_kd_self", "dr_kd"])
def test_alpha_zero_is_plain_cross_entropy_to_the_bit(name):
    z, y = torch.randn(64, 10), torch.randint(0, 10, (64,))
    objective = create(name, {"alpha": 0.0}, teacher=nn.Linear(3, 10))
    assert torch.equal(objective(z, y, inputs=torch.randn(64, 3))["loss"], F.cross_entropy(z, y))


def test_dr_kd_of_a_right_teacher_is_tf_kd_self():
    right = F.one_hot(Y, 5).double() * 9 + V / 9
    assert torch.equal(
        drkd.dr_kd(lambda _: right, 0.7, 3.0)(Z, Y, inputs=Z)["loss"],
        drkd.tf_kd_self(lambda _: right, 0.7, 3.0)(Z, Y, inputs=Z)["loss"],
    )


def test_ps_kd_mixes_labels_with_the_last_prediction():
    """Target (1 - a_t) onehot + a_t softmax(last logits), with a_t = a (e + 1) / E."""
    objective = drkd.ps_kd(0.8, epochs=4)
    objective(V, Y, index=INDEX)
    objective.update(progress=0.5, epoch=2)
    a_t = 0.8 * 3 / 4
    target = (1 - a_t) * F.one_hot(Y, 5) + a_t * V.softmax(1)
    expected = -(target * Z.log_softmax(1)).sum(1).mean()
    assert objective(Z, Y, index=INDEX)["loss"].item() == pytest.approx(expected.item())


def test_ps_kd_without_epochs_follows_progress():
    objective = drkd.ps_kd(0.8)
    objective.update(progress=0.25)
    objective(V, Y, index=INDEX)
    objective.update(progress=0.5)
    target = 0.6 * F.one_hot(Y, 5) + 0.4 * V.softmax(1)
    expected = -(target * Z.log_softmax(1)).sum(1).mean()
    assert objective(Z, Y, index=INDEX)["loss"].item() == pytest.approx(expected.item())


def test_online_dr_kd_rectifies_the_own_past():
    objective = drkd.online_dr_kd(0.6, 2.0)
    objective(V, Y, index=INDEX)
    objective.update()
    expected = by_hand(softmax(swapped(V.numpy(), Y.numpy()) / 2), 0.6, 2.0)
    assert torch.allclose(gradient(objective), expected, atol=1e-10)


def test_online_dr_kd_rectifies_a_running_average():
    student = nn.Linear(5, 5).double()
    objective = drkd.online_dr_kd(0.6, 2.0, source=Ema(student))
    with torch.no_grad():
        logits = student(Z).numpy()
    expected = by_hand(softmax(swapped(logits, Y.numpy()) / 2), 0.6, 2.0)
    assert torch.allclose(gradient(objective), expected, atol=1e-10)


@pytest.mark.parametrize("rectify", ["swap", "smooth", "drop"])
def test_online_dr_kd_rectifies_whatever_teaches(rectify):
    """The last batch, a partner: each corrected like a frozen teacher that says the same."""

    def like_frozen(v):
        return drkd.dr_kd(lambda _: v, 0.6, 2.0, rectify=rectify)

    objective = drkd.online_dr_kd(0.6, 2.0, rectify=rectify, source=LastBatch())
    gradient(objective, V)
    objective.update()
    assert torch.allclose(gradient(objective), gradient(like_frozen(V)), atol=1e-10)

    objective = drkd.online_dr_kd(0.6, 2.0, rectify=rectify, source=Partner())
    pairs = gradient(objective, torch.cat([Z, V]), torch.cat([Y, torch.full_like(Y, -100)]))
    assert torch.allclose(pairs[:6], gradient(like_frozen(V)), atol=1e-10)
    assert not pairs[6:].any()


def test_the_readme_loop():
    """The four lines of a user's own loop."""
    student, teacher = nn.Linear(8, 5), nn.Linear(8, 5)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    objective = drkd.dr_kd(teacher, alpha=0.5, temperature=4.0)
    inputs, values = torch.randn(6, 8), []
    for step in range(20):
        losses = objective(student(inputs), Y, inputs=inputs)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        objective.update(progress=(step + 1) / 20)
        values.append(losses["loss"].item())
    assert values[-1] < values[0]
    assert objective.progress == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: drkd.kd(lambda _: V, alpha=1.5), r"alpha must lie in \[0, 1\], got 1.5"),
        (lambda: drkd.dr_kd(lambda _: V, temperature=0), "temperature must be above 0, got 0"),
        (lambda: drkd.label_smoothing(-0.1), "epsilon"),
        (lambda: drkd.ps_kd(2.0), "alpha"),
        (lambda: drkd.online_dr_kd(source="past"), 'source="memory", "ema" or a target'),
        (lambda: drkd.online_dr_kd(rectify="flip"), "unknown rectifier 'flip'; choose swap, bayes, "),
        (lambda: drkd.dr_kd(lambda _: V, rectify="flip"), "unknown rectifier 'flip'"),
        (lambda: create("drkd", {}), "did you mean dr_kd"),
        (lambda: create("DR-KD", {}), "did you mean dr_kd"),
        (lambda: create("dr_kd", {}), "dr_kd needs a teacher; give one with --teacher"),
        (lambda: create("ps_kd", {"temperature": 2.0}), "ps_kd takes no temperature; it takes alpha"),
        (lambda: create("online_dr_kd", {"source": "ema"}), "needs the student"),
        (lambda: create("online_dr_kd", {"decay": 0.9}), "has a decay only with source=ema"),
        (lambda: create("ps_kd", {"decay": 0.9}), "ps_kd takes no decay; it takes alpha, keep"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_create_gives_methods_what_they_take():
    student = nn.Linear(5, 5)
    objective = create("online_dr_kd", {"source": "ema", "alpha": 0.3}, student=student, epochs=9)
    assert objective.needs == {"inputs"}
    assert objective.terms[1].target.target.decay == 0.99
    slower = create("online_dr_kd", {"source": "ema", "decay": 0.999}, student=student)
    by_hand = drkd.online_dr_kd(source="ema", student=student, decay=0.999)
    assert slower.state_dict().keys() == by_hand.state_dict().keys()
    assert slower.terms[1].target.target.decay == 0.999
    assert create("ps_kd", {}, epochs=4).terms[1].weight_at(0.0, 0) == pytest.approx(0.2)
