"""Large logits go through in pieces: the same numbers as the plain path, in less memory."""

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import drkd
from drkd.objective import chunked as large
from drkd.objective.losses import entropy, hard_cross_entropy, soft_cross_entropy, soft_cross_entropy_and_entropy
from on_devices import ON_EVERY_DEVICE
from oracles.public_code import softmax

property_of = settings(deadline=None, max_examples=60)
temperatures = st.floats(0.25, 20)
shapes = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(2, 12)),
    st.tuples(st.integers(1, 3), st.integers(2, 6), st.integers(1, 4), st.integers(1, 4)),
)
tolerances = {torch.float64: 1e-12, torch.float32: 1e-5}
AS_THEY_ARE = {name: getattr(large, name) for name in ("LARGE_CLASSES", "LARGE_SIZE", "CHUNK")}


@pytest.fixture(autouse=True, scope="module")
def all_is_large():
    """Everything goes through in pieces of a few elements."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"LARGE_CLASSES": 2, "LARGE_SIZE": 1, "CHUNK": 6, "ACCELERATOR_CORES": 2}.items():
            patch.setattr(large, name, value)
        yield


@pytest.fixture
def nothing_is_large(monkeypatch):
    return lambda: monkeypatch.setattr(large, "LARGE_SIZE", 2**62)


def case(seed, shape, dtype=torch.float64, scale=4.0):
    """Logits of student and teacher, labels of which some are ignored, and weights of the rows."""
    rng, rows = np.random.default_rng(seed), (shape[0], *shape[2:])
    z, v = torch.tensor(rng.normal(scale=scale, size=(2, *shape)), dtype=dtype)
    labels = torch.tensor(np.where(rng.random(rows) < 0.2, -100, rng.integers(0, shape[1], rows)))
    return z, v, labels, torch.tensor(rng.normal(size=labels.shape), dtype=dtype)


def both_losses(v, labels, **temperatures):
    return (
        lambda logits: soft_cross_entropy_and_entropy(logits, v.to(logits.dtype), **temperatures)[0],
        lambda logits: hard_cross_entropy(logits, labels),
    )


def probs(logits, temperature):
    """The oracle's softmax over the classes, in float64."""
    rows = logits.double().movedim(1, -1) / temperature
    return torch.tensor(softmax(rows.reshape(-1, rows.shape[-1]).numpy())).view(rows.shape).movedim(-1, 1)


def with_gradient(function, logits, weights):
    """The rows that `function` gives, and the gradient of their weighted sum."""
    logits = logits.detach().requires_grad_()
    rows = function(logits)
    (gradient,) = torch.autograd.grad((rows * weights).sum(), logits)
    return rows.detach(), gradient


def close(ours, expected, tolerance):
    """Relative to the largest value, absolute where all are below 1: `log(1 + tiny)` has no more digits."""
    assert ours.shape == expected.shape
    assert (ours.double() - expected.double()).abs().max() <= tolerance * expected.abs().max().clamp(min=1)


@property_of
@given(st.integers(0, 10**6), shapes, temperatures, temperatures, st.sampled_from(list(tolerances)))
def test_soft_rows_and_gradients_equal_the_formula_and_the_plain_path(seed, shape, ours, theirs, dtype):
    z, v, _, weights = case(seed, shape, dtype)
    both = {"student_temperature": ours, "target_temperature": theirs}
    rows, gradient = with_gradient(lambda logits: soft_cross_entropy_and_entropy(logits, v, **both)[0], z, weights)
    fixed = soft_cross_entropy_and_entropy(z, v, **both)[1]
    assert rows.dtype is fixed.dtype is gradient.dtype is dtype
    plain, plain_gradient = with_gradient(lambda logits: soft_cross_entropy(logits, v, **both), z, weights)
    q, p = (probs(x, t) for x, t in ((z, ours), (v, theirs)))
    by_hand = (q - p) / ours * weights.double().unsqueeze(1)
    precision, largest = tolerances[dtype], weights.abs().max() / ours
    for expected, expected_gradient in ((-(p * q.log()).sum(1), by_hand), (plain, plain_gradient)):
        close(rows, expected, precision)
        assert torch.allclose(gradient.double(), expected_gradient.double(), rtol=0, atol=precision * largest)
    for expected in (-(p * p.log()).sum(1), entropy(v, temperature=theirs)):
        close(fixed, expected, precision)


@property_of
@given(st.integers(0, 10**6), shapes, st.sampled_from([torch.float32, torch.float64]))
def test_hard_rows_and_gradients_equal_torch(seed, shape, dtype):
    z, _, labels, weights = case(seed, shape, dtype)
    rows, gradient = with_gradient(lambda logits: hard_cross_entropy(logits, labels), z, weights)
    plain = with_gradient(lambda logits: F.cross_entropy(logits, labels, reduction="none"), z, weights)
    assert rows.dtype is gradient.dtype is dtype
    close(rows, plain[0], tolerances[dtype])
    close(gradient, plain[1], tolerances[dtype])
    assert not rows[labels == -100].any()
    close(hard_cross_entropy(z, labels, reduction="sum"), rows.sum(), tolerances[dtype])


@pytest.mark.parametrize("reduction", ["none", "sum", "batchmean"])
@ON_EVERY_DEVICE
@pytest.mark.parametrize("shape", [(7, 11), (3, 5, 4, 3)])
def test_objectives_give_the_same_parts_and_gradients(shape, device, reduction, nothing_is_large):
    z, v, labels, _ = (tensor.to(device) for tensor in case(1, shape))
    labels = labels.where(labels != -100, 255)
    options = {"reduction": reduction, "ignore_index": 255}
    teacher, reference = lambda _: v, {"convention": "reference", "multiplier": 3.0}
    methods = [
        drkd.cross_entropy(**options),
        drkd.label_smoothing(0.1, **options),
        drkd.kd(teacher, 0.5, 4.0, **options),
        drkd.dr_kd(teacher, 0.5, 4.0, **options),
        drkd.dr_kd(teacher, 0.5, 4.0, rectify="drop", student_swap=True, **options),
        drkd.tf_kd_reg(alpha=0.5, temperature=4.0, **options),
        drkd.tf_kd_reg(alpha=0.5, temperature=4.0, **reference, **options),
        drkd.online_dr_kd(**options),
    ]

    def results(method):
        logits = z.clone().requires_grad_()
        parts = method(logits, labels, inputs=z, index=torch.arange(len(z), device=device))
        parts["loss"].sum().backward()
        return {name: part.detach() for name, part in parts.items()} | {"gradient": logits.grad}

    in_pieces = [results(method) for method in methods]
    nothing_is_large()
    for method, ours in zip(methods, in_pieces, strict=True):
        for name, expected in results(method).items():
            assert torch.allclose(ours[name], expected, rtol=1e-12, atol=1e-13), (method.name, name)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_and_its_gradient_is_not(dtype):
    z, v, labels, weights = case(2, (6, 9), dtype)
    for function in both_losses(v, labels, student_temperature=2.0):
        rows, gradient = with_gradient(function, z, weights.float())
        exact, exact_gradient = with_gradient(function, z.double(), weights.double())
        assert rows.dtype is torch.float32
        assert gradient.dtype is dtype
        close(rows, exact, 1e-6)
        close(gradient, exact_gradient, torch.finfo(dtype).eps)
    assert soft_cross_entropy_and_entropy(z.double(), v)[0].dtype is torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_gives_the_float32_loss(dtype):
    student, teacher, inputs, labels = nn.Linear(4, 7), nn.Linear(4, 7), torch.randn(5, 4), torch.arange(5)
    objective = drkd.dr_kd(teacher, 0.5, 4.0)
    exact = objective(student(inputs), labels, inputs=inputs)["loss"]
    with torch.autocast("cpu", dtype):
        rough = objective(student(inputs), labels, inputs=inputs)["loss"]
        direct, _ = soft_cross_entropy_and_entropy(student(inputs), teacher(inputs))
    assert rough.dtype is direct.dtype is torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=2e-2)
    rough.backward()
    assert student.weight.grad.isfinite().all()


LAYOUTS = {
    "classes first": lambda z: z.transpose(0, 1).contiguous().transpose(0, 1),
    "sliced": lambda z: z.repeat_interleave(2, 1)[:, ::2],
    "images turned": lambda z: z.transpose(2, 3).contiguous().transpose(2, 3),
    "channels_last": lambda z: z.contiguous(memory_format=torch.channels_last),
    "expanded": lambda z: z[:1].expand_as(z),
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_any_layout_gives_the_same_rows_and_gradients(layout):
    z, v, labels, weights = case(3, (4, 6, 3, 2))
    laid = LAYOUTS[layout](z)
    for function in both_losses(v, labels):
        ours, gradient = with_gradient(function, laid, weights)
        expected, expected_gradient = with_gradient(function, laid.contiguous(), weights)
        assert torch.allclose(ours, expected, rtol=1e-12)
        assert torch.allclose(gradient, expected_gradient, rtol=1e-12)
        assert layout != "channels_last" or gradient.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("gradient_made", [True, False])
def test_a_target_that_is_one_row_for_all_is_read_once(gradient_made):
    z, v, _, weights = case(12, (7, 9))
    row = v[:1].expand_as(v)
    z = z if gradient_made else z.half()
    function = lambda target: with_gradient(
        lambda logits: soft_cross_entropy_and_entropy(logits, target, target_temperature=3.0)[0], z, weights
    )
    for ours, expected in zip(function(row), function(row.contiguous()), strict=True):
        assert torch.equal(ours, expected)
    rows, fixed = soft_cross_entropy_and_entropy(z, row)
    assert torch.equal(fixed, soft_cross_entropy_and_entropy(z, row.contiguous())[1])
    assert len(rows) == len(fixed) == 7


def test_no_gradient_reaches_the_target_and_results_may_be_changed_in_place():
    z, v = (tensor.requires_grad_() for tensor in case(4, (3, 5))[:2])
    loss, fixed = soft_cross_entropy_and_entropy(z, v)
    loss.mul_(2).sum().backward()
    assert z.grad.any()
    assert (v.grad, fixed.requires_grad) == (None, False)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_second_backward_pass_adds_the_same_gradient(dtype):
    """The first one takes the gradient that forward made, if it made one; the second computes its own."""
    z, v, _, weights = case(11, (6, 9), dtype)
    logits = z.clone().requires_grad_()
    loss = (soft_cross_entropy_and_entropy(logits, v, student_temperature=2.0)[0] * weights.float()).sum()
    loss.backward(retain_graph=True)
    first = logits.grad.clone()
    loss.backward()
    assert torch.allclose(logits.grad, 2 * first, rtol=4 * torch.finfo(dtype).eps, atol=1e-6)
    assert first.any()


@pytest.mark.parametrize("offset", [-1e4, 1e4, 1e6])
def test_an_offset_of_all_logits_changes_nothing(offset):
    """In float32, at temperatures where the plain path rounds nothing either."""
    z, v, labels, weights = case(5, (4, 9), torch.float32)
    z, v = z.round(), v.round()
    for function in both_losses(v + offset, labels, student_temperature=2.0):
        ours, gradient = with_gradient(function, z + offset, weights)
        expected, expected_gradient = with_gradient(function, z, weights)
        close(ours, expected, 1e-6)
        close(gradient, expected_gradient, 1e-6)


def test_extreme_logits_neither_overflow_nor_cancel():
    z = torch.tensor([[1e30, -1e30, 0.0], [1e30, 1e30, -1e30]])
    loss, fixed = soft_cross_entropy_and_entropy(z, z)
    assert loss.tolist() == fixed.tolist() == pytest.approx([0.0, np.log(2)])
    assert hard_cross_entropy(z, torch.tensor([0, 1])).tolist() == pytest.approx([0.0, np.log(2)])
    assert soft_cross_entropy_and_entropy(torch.tensor([[0.0, float("nan")]]), torch.zeros(1, 2))[0].isnan().all()


def test_an_empty_batch_is_zero():
    logits = torch.zeros(0, 5, requires_grad=True)
    loss = drkd.dr_kd(lambda _: logits.detach())(logits, torch.zeros(0, dtype=torch.long), inputs=logits)["loss"]
    loss.backward()
    assert loss == 0


def test_small_and_compiled_logits_are_left_as_they_were(monkeypatch):
    """Bitwise: with the constants as they are no piece is cut below 4096 classes, nor below 2**20 elements."""
    for name, value in AS_THEY_ARE.items():
        monkeypatch.setattr(large, name, value)
    monkeypatch.setattr(large, "_chunks", None)
    assert not large.is_large(torch.zeros(1, 1).expand(10**6, 1000))
    assert not large.is_large(torch.zeros(1, 1).expand(255, 4096))
    assert large.is_large(torch.zeros(1, 1).expand(256, 4096))
    with monkeypatch.context() as compiling:
        compiling.setattr(torch.compiler, "is_compiling", lambda: True)
        assert not large.is_large(torch.zeros(1, 1).expand(256, 4096))
    z, v, _, weights = case(6, (5, 8), torch.float32)
    both = {"student_temperature": 3.0, "target_temperature": 2.0}
    functions = (lambda x: soft_cross_entropy_and_entropy(x, v, **both)[0], lambda x: soft_cross_entropy(x, v, **both))
    assert all(map(torch.equal, *(with_gradient(function, z, weights) for function in functions)))
    assert torch.equal(soft_cross_entropy_and_entropy(z, v, **both)[1], entropy(v, temperature=2.0))
    stacked = torch.func.vmap(lambda x: soft_cross_entropy_and_entropy(x, v)[0])(torch.stack([z, v]))
    assert torch.allclose(stacked[0], soft_cross_entropy(z, v))


def test_a_second_derivative_is_an_error_and_not_silence():
    z, v, labels, _ = case(8, (3, 5))
    for rows in both_losses(v, labels):
        function = lambda x, rows=rows: rows(x).sum()
        logits = z.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(function(logits), logits, create_graph=True)
        with pytest.raises(RuntimeError, match=r"large logits .* have no second derivative; use `soft_cross_entropy`"):
            (function(logits) + gradient.square().sum()).backward()
        assert torch.allclose(torch.func.grad(function)(z), gradient)


def test_other_shapes_and_reductions_are_as_torch_has_them():
    z, _, labels, _ = case(9, (4, 6))
    with pytest.raises(RuntimeError, match="expand"):
        soft_cross_entropy_and_entropy(z, z[:, :3])
    assert torch.equal(hard_cross_entropy(z, labels, reduction="mean"), F.cross_entropy(z, labels))
    with pytest.raises(RuntimeError, match="out of bounds"):
        hard_cross_entropy(z, torch.full_like(labels, 6))


def test_swap_counts_the_same_rows_as_any_rectifier():
    z, v, labels, _ = case(10, (50, 4), scale=1.0)
    v = v.round()  # with ties
    rectifiers = ("swap", functools.partial(drkd.swap, ignore_index=-100))  # the second is not known by its name
    by_name, by_function = (drkd.dr_kd(lambda _: v, rectify=how)(z, labels, inputs=z) for how in rectifiers)
    assert all(torch.equal(by_name[name], by_function[name]) for name in by_function)
    assert by_name["rectified"] > 0
