"""Batch norms folded into the layers before them: a frozen network that answers the same, faster."""

import contextlib
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

FOLDS: dict[tuple[type[nn.Module], type[nn.Module]], Callable[..., nn.Module]] = {
    (nn.Conv1d, nn.BatchNorm1d): fuse_conv_bn_eval,
    (nn.Conv2d, nn.BatchNorm2d): fuse_conv_bn_eval,
    (nn.Conv3d, nn.BatchNorm3d): fuse_conv_bn_eval,
    (nn.Linear, nn.BatchNorm1d): fuse_linear_bn_eval,
}
"""What is folded: exactly these types, since a subclass may compute something else."""


def fold_batch_norms(network: nn.Module) -> nn.Module | None:
    """A copy of `network`, which is in eval mode, with batch norms folded; None where there is nothing to fold.

    A pair is folded where the traced graph shows that this changes no answer: both modules are called once, nothing
    else reads the layer's output, their weights or their statistics, and no hook watches them. The forward code stays
    the network's own: the layer is replaced by the folded one, the batch norm by the identity.

    Raises:
        Exception: whatever the network's own code raises while it is traced.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
        >>> fold_batch_norms(network)[1]
        Identity()
    """
    if not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in network.modules()):
        return None
    folded = copy.deepcopy(network)
    graph = fx.Tracer().trace(folded)
    modules = dict(folded.named_modules(remove_duplicate=False))
    nodes = [node for node in graph.nodes if node.op == "call_module"]
    calls = Counter(id(modules[node.target]) for node in nodes)
    read = {id(_attribute(folded, node.target)) for node in graph.nodes if node.op == "get_attr"}
    replaced: dict[int, nn.Module] = {}
    for node in nodes:
        before = node.args[0] if node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        layer, norm = modules[before.target], modules[node.target]
        fold = FOLDS.get((type(layer), type(norm)))
        if fold is None or norm.training or norm.running_mean is None:
            continue
        if all(calls[id(part)] == 1 and not _watched(part, read) for part in (layer, norm)):
            replaced[id(layer)], replaced[id(norm)] = fold(layer, norm), nn.Identity()
    for path, module in modules.items():
        if id(module) in replaced:
            folded.set_submodule(path, replaced[id(module)])
    return folded.requires_grad_(False) if replaced else None


@torch.no_grad()
def largest_difference(network: nn.Module, other: nn.Module, inputs: Any) -> float | None:
    """By how much two networks' logits differ at most, as a fraction of the first one's largest; None without rows.

    Both answer in full precision, so that the rounding of autocast and TF32 does not count.
    """
    device = next(network.parameters()).device
    with torch.autocast(device.type, enabled=False), _without_tf32():
        ours, theirs = network(inputs).double(), other(inputs).double()
    if ours.shape != theirs.shape:
        return float("inf")
    if not ours.numel():
        return None
    scale = ours.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return float((ours - theirs).abs().max() / scale)


def tolerance(network: nn.Module) -> float:
    """The largest difference that rounding explains: the square root of the weights' machine epsilon.

    For float64 it is that of float32: the weights may have been folded before they were widened.

    Example:
        >>> round(tolerance(nn.Linear(2, 2)), 6), round(tolerance(nn.Linear(2, 2).bfloat16()), 6)
        (0.000345, 0.088388)
    """
    dtypes = (torch.float32, next(network.parameters()).dtype)
    return float(max(torch.finfo(dtype).eps for dtype in dtypes) ** 0.5)


@contextlib.contextmanager
def _without_tf32() -> Iterator[None]:
    """Convolutions and matrix products of a GPU in full float32."""
    backends: Any = torch.backends
    operations = (backends.cudnn.conv, backends.cuda.matmul)
    before = [operation.fp32_precision for operation in operations]
    try:
        for operation in operations:
            operation.fp32_precision = "ieee"
        yield
    finally:
        for operation, precision in zip(operations, before, strict=True):
            operation.fp32_precision = precision


def _attribute(network: nn.Module, path: str) -> Any:
    found: Any = network
    for name in path.split("."):
        found = getattr(found, name)
    return found


def _watched(module: nn.Module, read: set[int]) -> bool:
    """Whether anything but its own call reads a module: a hook, or code that takes its tensors."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    return bool(hooks) or any(id(tensor) in read for tensor in (*module.parameters(), *module.buffers()))
