"""The parts of a network that fine-tuning tells apart: its classifier, and its blocks from first to last.

A network of timm says itself what its classifier is and which parameters make up a block. Of any other the classifier
is the last linear layer, and a block is whatever lies in the network itself or in an `nn.Sequential` of it. Networks
of other tasks have a backbone, which the task names: what lies beside it stands for the classifier.
"""

from collections.abc import Iterator
from typing import Any

from torch import nn

from drkd.utils.errors import InputError


def classifier_of(network: nn.Module) -> tuple[str, nn.Linear]:
    """The linear layer that turns features into logits, and its name.

    Raises:
        InputError: for a network that has none.

    Example:
        >>> classifier_of(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
        ('2', Linear(in_features=8, out_features=2, bias=True))
    """
    of_timm: Any = getattr(network, "get_classifier", None)
    named = list(network.named_modules())
    if callable(of_timm):
        classifier = of_timm()
        found = [(name, part) for name, part in named if part is classifier and isinstance(part, nn.Linear)]
    else:
        found = [(name, part) for name, part in named if isinstance(part, nn.Linear)]
    if not found:
        raise InputError(
            f"the network {type(network).__name__} has no linear layer as its classifier, which --freeze backbone, "
            "--head-epochs and --head-lr need; leave them out, or choose another network"
        )
    return found[-1]


def head_of(network: nn.Module, backbone: nn.Module | None = None) -> frozenset[str]:
    """The names of the parameters of the classifier, or of all that lies beside a given backbone.

    Raises:
        InputError: for a network that has no classifier.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1, bias=False))
        >>> sorted(head_of(network, backbone=network[0]))
        ['1.weight']
    """
    if backbone is None:
        prefix, head = classifier_of(network)
        return frozenset(f"{prefix}.{name}" for name, _ in head.named_parameters())
    within = {id(parameter) for parameter in backbone.parameters()}
    return frozenset(name for name, parameter in network.named_parameters() if id(parameter) not in within)


def blocks_of(network: nn.Module, backbone: nn.Module | None = None) -> list[list[str]]:
    """The names of the parameters of each block, the first block first, the classifier in the last.

    A block of norms alone belongs to the one before it. With a backbone its blocks come first, and all that lies beside
    it is the last one.

    Example:
        >>> blocks_of(nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 2)))
        [['0.weight', '1.weight', '1.bias'], ['3.weight', '3.bias']]
    """
    if backbone is not None:
        names_of = {id(parameter): name for name, parameter in network.named_parameters()}
        inner = {name: names_of[id(parameter)] for name, parameter in backbone.named_parameters()}
        return [*([inner[name] for name in block] for block in blocks_of(backbone)), sorted(head_of(network, backbone))]
    matcher: Any = getattr(network, "group_matcher", None)
    if callable(matcher):
        from timm.models import group_parameters

        return [names for _, names in sorted(group_parameters(network, matcher(coarse=False)).items())]
    blocks: list[list[str]] = []
    for prefix, part in _blocks("", network):
        parameters = [(f"{prefix}{name}", parameter) for name, parameter in part.named_parameters()]
        names = [name for name, _ in parameters]
        if blocks and all(parameter.ndim == 1 for _, parameter in parameters):
            blocks[-1] += names
        elif names:
            blocks.append(names)
    return blocks


def _blocks(prefix: str, part: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The blocks within `part`, which is the network or a sequence in it."""
    for name, child in part.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _blocks(f"{prefix}{name}.", child)
        else:
            yield f"{prefix}{name}.", child
