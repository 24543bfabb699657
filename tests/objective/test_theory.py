"""The statements of docs/theory.md, each against numpy and derivatives taken on paper; then the script behind it."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import drkd
from oracles import public_code
from oracles.public_code import onehot, softmax

pytestmark = pytest.mark.filterwarnings("ignore:.*weighs its soft target")  # extreme weights are the subject here

DOCS = Path(__file__).resolve().parents[2] / "docs"
ECHO = torch.nn.Identity()  # a teacher whose logits are its inputs
TEMPERATURES = st.floats(0.5, 50)
CLASSES = st.integers(2, 30)
quick = settings(max_examples=25, deadline=None, derandomize=True)

# K, alpha, T, m; then s and epsilon, derived independently
REGULARISER = [
    (100, 0.95, 40, 1, 0.0595, 0.1596),
    (100, 0.95, 10, 1, 0.0595, 0.1595),
    (100, 0.1, 20, 100, 1.0000, 0.09995),
    (100, 0.1, 40, 50, 0.9500, 0.0526),
    (200, 0.95, 40, 1, 0.0548, 0.0867),
    (200, 0.1, 20, 100, 0.9500, 0.0526),
    (10, 0.1, 20, 100, 1.90, 0.524),
    (10, 0.95, 40, 1, 0.145, 0.654),
]


def case(k, seed=0, rows=8):
    rng = np.random.default_rng((k, seed))
    z, v = 3 * rng.normal(size=(2, rows, k))
    return z, v, rng.integers(0, k, rows)


def gradient(objective, z, y, v=None):
    """(loss, gradient) summed over the rows."""
    logits = torch.tensor(z, requires_grad=True)
    loss = objective(logits, torch.tensor(y), inputs=None if v is None else torch.tensor(v))["loss"]
    loss.backward()
    return loss.item(), logits.grad.numpy()


def close(ours, expected, tolerance=1e-12):
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def centred(x):
    return x - x.mean(axis=1, keepdims=True)


# 1: learned label smoothing


@quick
@given(k=CLASSES, t=TEMPERATURES, alpha=st.floats(0.01, 1), seed=st.integers(0, 99))
def test_gradient_of_kd_is_prediction_minus_target(k, t, alpha, seed):
    z, v, y = case(k, seed)
    expected = (1 - alpha) * (softmax(z) - onehot(y, k)) + alpha * t * (softmax(z / t) - softmax(v / t))
    close(gradient(drkd.kd(ECHO, alpha, t, reduction="sum"), z, y, v)[1], expected)


@quick
@given(k=CLASSES, epsilon=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_label_smoothing_is_kd_from_a_uniform_teacher_at_temperature_1(k, epsilon, seed):
    z, v, y = case(k, seed)
    target = (1 - epsilon) * onehot(y, k) + epsilon / k
    for objective in (drkd.label_smoothing(epsilon, reduction="sum"), drkd.kd(ECHO, epsilon, 1.0, reduction="sum")):
        loss, slope = gradient(objective, z, y, 0 * v)
        assert loss == pytest.approx(-(target * np.log(softmax(z))).sum(), rel=1e-12)
        close(slope, softmax(z) - target)


def test_softened_teacher_tends_to_uniform():
    _, v, _ = case(20)
    errors = [np.abs(softmax(v / t) - 1 / 20 - centred(v) / (20 * t)).max() for t in (100, 1000)]
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.1)  # what is left is O(T^-2)


def soft_slope(z, v, student_t, target_t):
    logits = torch.tensor(z, requires_grad=True)
    options = {"student_temperature": student_t, "target_temperature": target_t}
    (student_t**2 * drkd.soft_cross_entropy(logits, torch.tensor(v), **options)).sum().backward()
    return logits.grad.numpy()


def test_at_high_temperature_only_an_unsoftened_student_gets_label_smoothing():
    z, v, _ = case(20)
    close(soft_slope(z, v, 1.0, 1e5), softmax(z) - 1 / 20, 1e-4)
    softened = soft_slope(z, v, 1e5, 1e5)
    close(softened, (centred(z) - centred(v)) / 20, 1e-3)
    assert np.linalg.norm(softened - soft_slope(z, 0 * v, 1e5, 1e5)) > 0.5 * np.linalg.norm(softened)


# 2: the virtual teacher


def virtual(k, t, probs_as_logits):
    batch = drkd.StudentBatch(torch.zeros(1, k).double(), torch.tensor([0]))
    teacher = drkd.Virtual(0.99, probs_as_logits=probs_as_logits)(batch).logits
    return (teacher / t).softmax(1)[0].numpy()


@pytest.mark.parametrize("t", [1, 5, 10, 20, 40])
@pytest.mark.parametrize("k", [10, 100])
def test_virtual_teacher_has_the_closed_forms(k, t):
    other = 0.01 / (k - 1)
    for code, ratio in ((False, (0.99 / other) ** (1 / t)), (True, np.exp((0.99 - other) / t))):
        label = 1 / (1 + (k - 1) / ratio)
        close(virtual(k, t, code), np.array([label] + [(1 - label) / (k - 1)] * (k - 1)))


def test_virtual_teacher_has_the_known_values():
    code = {t: virtual(100, t, True) for t in (10, 20, 40)}
    assert [f"{code[10][0]:.5f}", f"{code[10][1]:.5f}"] == ["0.01103", "0.00999"]
    assert [f"{code[20][0]:.6f}", f"{code[20][1]:.6f}"] == ["0.010502", "0.009995"]
    assert [f"{code[40][0]:.6f}", f"{code[40][1]:.7f}"] == ["0.010248", "0.0099975"]
    assert [f"{virtual(100, t, False)[0]:.4f}" for t in (10, 20, 40)] == ["0.0247", "0.0157", "0.0126"]


def test_label_over_other_class_as_the_page_says():
    softened = [virtual(100, t, code) for code in (False, True) for t in (1, 20)]
    assert [f"{q[0] / q[1]:.4g}" for q in softened] == ["9801", "1.583", "2.691", "1.051"]


# 3: Tf-KD_reg as coded


def rewritten(k, alpha, t, m):
    s = 1 - alpha + alpha * m / k
    difference = 0.99 - 0.01 / (k - 1)
    return s, alpha * m / (k - 1 + np.exp(difference / t)) / s


@pytest.mark.parametrize(("k", "alpha", "t", "m", "s", "epsilon"), REGULARISER)
def test_public_regulariser_is_scaled_label_smoothing(script, k, alpha, t, m, s, epsilon):
    ours = rewritten(k, alpha, t, m)
    assert ours == pytest.approx(script["scaled_smoothing"](k, alpha, t, m), rel=1e-12)
    assert ours[0] == pytest.approx(s, abs=6e-5)
    assert ours[1] == pytest.approx(epsilon, rel=0, abs=0.51 * 10 ** -len(str(epsilon).split(".")[1]))
    z, _, y = case(k)
    target = (1 - ours[1]) * onehot(y, k) + ours[1] / k
    by_hand = ours[0] * (softmax(z) - target) / len(y)
    close(gradient(drkd.tf_kd_reg(0.99, alpha, t, convention="reference", multiplier=m), z, y)[1], by_hand)
    close(public_code.tf_kd_reg(z, y, alpha, t, m)[1], by_hand)
    logits = torch.tensor(z, requires_grad=True)
    (ours[0] * torch.nn.CrossEntropyLoss(label_smoothing=ours[1])(logits, torch.tensor(y))).backward()
    close(logits.grad.numpy(), by_hand)


def test_the_losses_differ_by_a_constant():
    z, v, y = case(10)
    public = drkd.tf_kd_reg(0.99, 0.1, 20.0, convention="reference", multiplier=100.0, reduction="none")
    s, epsilon = rewritten(10, 0.1, 20.0, 100.0)
    smoothing = torch.nn.CrossEntropyLoss(label_smoothing=epsilon, reduction="none")
    logits, labels = torch.tensor(np.concatenate([z, v])), torch.tensor(np.concatenate([y, y]))
    assert (public(logits, labels)["loss"] - s * smoothing(logits, labels)).std() < 1e-12


def test_public_label_smoothing_is_nearly_the_regulariser_of_resnet18():
    z, _, y = case(100)
    public = gradient(drkd.label_smoothing(0.1, convention="reference"), z, y)[1]
    close(public, gradient(drkd.label_smoothing(0.1 * 100 / 99), z, y)[1])
    assert abs(0.1 * 100 / 99 - rewritten(100, 0.1, 20, 100)[1]) == pytest.approx(0.001, abs=1e-4)


# 4: a scaled loss


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("s", [0.0595, 1.9])
def test_scaled_loss_is_another_learning_rate_and_weight_decay(s, nesterov):
    """Softmax regression with the steps written out; then the same by torch's optimizer."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)), rng.integers(0, 5, 40)

    def by_hand(scale, lr, weight_decay):
        w, b, path = np.zeros((6, 5)), np.zeros((6, 5)), []
        for step in range(150):
            slope = scale * x.T @ (softmax(x @ w) - onehot(y, 5)) / 40 + weight_decay * w
            b = 0.9 * b + slope
            w = w - lr * (0.2 if step >= 100 else 1) * (slope + 0.9 * b if nesterov else b)
            path.append(w)
        return np.array(path)

    def by_torch(scale, lr, weight_decay):
        w = torch.zeros(6, 5, dtype=torch.float64, requires_grad=True)
        sgd = torch.optim.SGD([w], lr=lr, momentum=0.9, weight_decay=weight_decay, nesterov=nesterov)
        schedule = torch.optim.lr_scheduler.MultiStepLR(sgd, [100], gamma=0.2)
        for _ in range(150):
            sgd.zero_grad()
            (scale * drkd.cross_entropy()(torch.tensor(x) @ w, torch.tensor(y))["loss"]).backward()
            sgd.step()
            schedule.step()
        return w.detach().numpy()

    scaled = by_hand(s, 0.1, 5e-3)
    close(scaled, by_hand(1.0, s * 0.1, 5e-3 / s))
    close(by_torch(s, 0.1, 5e-3), scaled[-1])
    close(by_torch(1.0, s * 0.1, 5e-3 / s), scaled[-1])
    assert np.linalg.norm(by_hand(1.0, 0.1, 5e-3)[-1] - scaled[-1]) > 0.01 * np.linalg.norm(scaled[-1])


def test_mobilenet_rows_as_the_page_says():
    s, epsilon = rewritten(100, 0.95, 40, 1)
    assert rewritten(100, 0.95, 1, 1)[1] / epsilon == pytest.approx(0.98, abs=5e-3)
    assert rewritten(10, 0.95, 1, 1)[1] / rewritten(10, 0.95, 40, 1)[1] == pytest.approx(0.86, abs=5e-3)
    assert [f"{epsilon:.2f}", f"{0.1 * s:.3g}", f"{5e-4 / s:.2g}"] == ["0.16", "0.00595", "0.0084"]


# 5: the swap


@quick
@given(k=CLASSES, t=TEMPERATURES, alpha=st.floats(0.01, 1), seed=st.integers(0, 99))
def test_swap_changes_two_logits_of_the_gradient(k, t, alpha, seed):
    z, v, y = case(k, seed)
    q, top, rows = softmax(v / t), v.argmax(axis=1), np.arange(len(y))
    pull = alpha * t * (q[rows, top] - q[rows, y])
    expected = np.zeros_like(z)
    expected[rows, y] -= pull
    expected[rows, top] += pull  # where the teacher is right label and top are one class, and the pull is 0
    pair = (make(ECHO, alpha, t, reduction="sum") for make in (drkd.dr_kd, drkd.tf_kd_self))
    (_, rectified), (_, plain) = (gradient(objective, z, y, v) for objective in pair)
    np.testing.assert_allclose(rectified - plain, expected, rtol=0, atol=1e-12 * np.abs(plain).max())
    assert (rectified[top == y] == plain[top == y]).all()


@quick
@given(k=CLASSES, t=TEMPERATURES, seed=st.integers(0, 99))
def test_swap_keeps_the_entropy_and_the_maximum(k, t, seed):
    _, v, y = case(k, seed)
    before, after = softmax(v / t), softmax(drkd.swap(torch.tensor(v), torch.tensor(y)).numpy() / t)
    close(-(after * np.log(after)).sum(axis=1), -(before * np.log(before)).sum(axis=1))
    close(after[np.arange(len(y)), y], before.max(axis=1))


def test_pull_at_high_temperature():
    _, v, y = case(20)
    q, rows = softmax(v / 1e4), np.arange(len(y))
    close(1e4 * (q.max(axis=1) - q[rows, y]), (v.max(axis=1) - v[rows, y]) / 20, 1e-3)


@pytest.mark.parametrize(("k", "ours", "public"), [(10, 0.311, 1.56), (100, 0.0365, 0.0182), (200, 0.0184, 0.0046)])
def test_pull_by_classes(k, ours, public):
    v = np.array([[3.0, 5.0] + [0.0] * (k - 2)])
    for options, expected in (({}, ours), ({"convention": "reference", "multiplier": 50.0}, public)):
        pair = [make(ECHO, 0.95, 6.0, **options) for make in (drkd.tf_kd_self, drkd.dr_kd)]
        plain, rectified = (gradient(objective, v, np.array([0]), v)[1][0] for objective in pair)
        assert (plain - rectified)[0] == pytest.approx(expected, rel=4e-3)
        assert (plain - rectified)[1] == pytest.approx(-expected, rel=4e-3)


PUBLIC_WEIGHTS = {  # alpha, T, m: the soft target's weight at 10, 100 and 200 classes
    (0.95, 20, 1): (38, 3.8, 1.9),
    (0.95, 6, 50): (171, 17.1, 8.55),
    (0.4, 20, 50): (800, 80, 40),
    (0.9, 20, 50): (1800, 180, 90),
    (0.9, 20, 100): (3600, 360, 180),
}


@pytest.mark.parametrize(("public", "weights"), PUBLIC_WEIGHTS.items())
def test_public_weights_by_classes(public, weights):
    objective = drkd.dr_kd(ECHO, *public[:2], convention="reference", multiplier=public[2])
    for k, weight in zip((10, 100, 200), weights, strict=True):
        assert objective.effective_weights(num_classes=k) == pytest.approx({"ce": 1 - public[0], "soft": weight})


# The script and the page


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(DOCS.parent / "benchmarks" / "theory.py"))


def test_script_reproduces_the_committed_tables(script, tmp_path, capsys):
    script["main"](["--out", str(tmp_path)])
    made, committed = ({f.name: f.read_bytes() for f in (d / "theory").glob("*")} for d in (tmp_path, DOCS))
    assert made == committed
    assert made["identities.md"].count(b"| below 1e-12 |") == 7
    assert {f.name for f in (tmp_path / "images").iterdir()} == {f.name for f in (DOCS / "images").glob("theory-*")}
    assert b"dc:date" not in (tmp_path / "images" / "theory-virtual.svg").read_bytes()
    assert "largest relative error" in capsys.readouterr().out


def test_page_shows_every_table_and_figure():
    page = (DOCS / "theory.md").read_text()
    assert set(re.findall(r"\{include\} theory/([\w-]+\.md)", page)) == {f.name for f in (DOCS / "theory").iterdir()}
    figures = {f.name for f in (DOCS / "images").glob("theory-*")}
    assert set(re.findall(r"\(images/(theory-[\w-]+\.svg)\)", page)) == figures
