"""The kernel for GPUs gives what the pieces give: interpreted on the processor, compiled where a GPU is."""

import importlib
import importlib.util

import numpy as np
import pytest
import torch

import drkd
from drkd.objective import chunked as large
from drkd.objective.chunked import ChunkedSoftCrossEntropy
from drkd.objective.losses import entropy, soft_cross_entropy, soft_cross_entropy_and_entropy

pytest.importorskip("triton", reason="comes with torch's builds for GPUs")


@pytest.fixture(scope="module")
def kernels():
    """The module as Triton's interpreter runs it, on the processor."""
    from drkd.objective import kernels

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        importlib.reload(kernels)
        patch.setattr(kernels, "BLOCK", 16)
        yield kernels
    importlib.reload(kernels)


def case(dtype=torch.float32, shape=(4, 41), seed=0, scale=4.0):
    z, v = np.random.default_rng(seed).normal(scale=scale, size=(2, *shape))
    return torch.tensor(z).to(dtype), torch.tensor(v).to(dtype)


LAYOUTS = {
    "as they are": lambda z, v: (z, v),
    "one target for all": lambda z, v: (z, v[:1].expand_as(v)),
    "rows apart": lambda z, v: (torch.cat([z, z], 1)[:, : z.shape[1]], v),
    "a class ruled out": lambda z, v: (z, v.index_fill(1, torch.tensor([3, 40]), -torch.inf)),
    "far from zero": lambda z, v: (z.round() + 1e4, v.round() - 1e4),
    "a whole block": lambda z, v: (z[:, :32], v[:, :32]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_entropies_sums_and_gradient_are_those_of_the_pieces(kernels, layout):
    z, v = LAYOUTS[layout](*case())
    ours = kernels.soft_rows(z, v, 2.0, 4.0, with_gradient=True)
    with torch.no_grad():
        theirs = ChunkedSoftCrossEntropy.forward(z.detach().requires_grad_(), v, 2.0, 4.0)
    for mine, expected in zip(ours, theirs, strict=True):
        assert mine.shape == expected.shape
        assert torch.allclose(mine, expected, rtol=2e-6, atol=2e-6)
    assert ours[3].abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened(kernels, dtype):
    z, v = case(dtype)
    rows, fixed, kept, gradient = kernels.soft_rows(z, v, 1.0, 1.0, with_gradient=True)
    assert rows.dtype is fixed.dtype is kept.dtype is torch.float32
    assert gradient.dtype is dtype
    assert torch.allclose(rows, soft_cross_entropy(z.float(), v.float()), rtol=1e-5)
    exact = z.float().softmax(1) - v.float().softmax(1)
    assert torch.allclose(gradient.float(), exact, rtol=torch.finfo(dtype).eps, atol=1e-7)
    assert kernels.soft_rows(z, v, 1.0, 1.0, with_gradient=False)[3] is None


def test_what_the_kernel_takes(kernels):
    z, v = case()
    assert kernels.takes(z, v)
    assert kernels.takes(z, v[:1].expand_as(v))
    for other in (z.double(), z.t().contiguous().t(), z[:0], z[..., None]):
        assert not kernels.takes(other, other)
    assert large.kernels_for(z, v) is None  # on the processor


def test_an_objective_through_the_kernel_is_the_one_in_pieces(kernels, monkeypatch):
    for name, value in {"LARGE_CLASSES": 2, "LARGE_SIZE": 1}.items():
        monkeypatch.setattr(large, name, value)
    z, v = case()
    labels = torch.tensor([0, 7, -100, 40])

    def result():
        logits = z.clone().requires_grad_()
        losses = drkd.dr_kd(lambda _: v, 0.5, 4.0)(logits, labels, inputs=z)
        losses["loss"].backward()
        return [*losses.values(), logits.grad]

    in_pieces, asked = result(), []
    monkeypatch.setattr(large, "kernels_for", lambda *pair: asked.append(pair) or kernels)
    for ours, expected in zip(result(), in_pieces, strict=True):
        assert torch.allclose(ours, expected, rtol=1e-5, atol=1e-7)
    assert len(asked) == 1


def test_the_kernel_compiles_for_a_hopper_gpu_and_spills_no_registers(monkeypatch, tmp_path):
    """Triton compiles for a GPU where there is none."""
    from triton import compile as compile_kernel
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    for name, value in {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": tmp_path, "TRITON_DEFAULT_FP_FUSION": "1"}.items():
        monkeypatch.setenv(name, str(value))
    spec = importlib.util.find_spec("drkd.objective.kernels")
    module = importlib.util.module_from_spec(spec)  # a copy, whichever way the other one runs
    spec.loader.exec_module(module)
    pointers = dict.fromkeys(("z_start", "v_start", "gradient_start"), "*bf16")
    pointers |= {"out_start": "*fp32", "kept_start": "*fp32", "ours": "fp32", "theirs": "fp32"}
    constants = {"with_gradient": True, "block": module.BLOCK}
    signature = {
        name: "constexpr" if name in constants else pointers.get(name, "i32") for name in module._soft_row.arg_names
    }
    made = compile_kernel(ASTSource(module._soft_row, signature, constants), target=GPUTarget("cuda", 90, 32))
    assert "ex2.approx" in made.asm["ptx"]
    assert ".local" not in made.asm["ptx"]


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(256, 21841), (7, 200003)])
def test_the_compiled_kernel_on_a_gpu(shape, dtype):
    z, v = (tensor.cuda() for tensor in case(dtype, shape, scale=2.0))
    assert large.kernels_for(z, v) is not None
    logits = z.clone().requires_grad_()
    temperatures = {"student_temperature": 2.0, "target_temperature": 3.0}
    rows, fixed = soft_cross_entropy_and_entropy(logits, v, **temperatures)
    (rows.sum() * 100).backward()
    exact = z.double().requires_grad_()
    expected = soft_cross_entropy(exact, v.double(), **temperatures)
    (expected.sum() * 100).backward()
    assert torch.allclose(rows.double(), expected, rtol=1e-5)
    assert torch.allclose(fixed.double(), entropy(v.double(), temperature=3.0), rtol=1e-5)
    largest = exact.grad.abs().max()
    assert (logits.grad.double() - exact.grad).abs().max() <= 2 * torch.finfo(dtype).eps * largest
