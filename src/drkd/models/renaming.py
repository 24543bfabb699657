"""The same network under other names: which tensor is which, by order and shape."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import Tensor

Tensors = Mapping[str, Tensor]
Tree = dict[str, "Tree | str"]

RANKS = {
    **dict.fromkeys(("weight", "kernel", "gamma", "scale"), 0),
    **dict.fromkeys(("bias", "beta", "offset"), 1),
    **dict.fromkeys(("running_mean", "moving_mean", "mean"), 2),
    **dict.fromkeys(("running_var", "moving_var", "running_variance", "moving_variance", "var", "variance"), 3),
}
"""Names of a layer's tensors, in PyTorch's order."""


def match_by_shape(own: Tensors, saved: Tensors, classifier: Sequence[str], *, in_order: bool) -> dict[str, str] | None:
    """Names in a file by names in the network; None where order and shapes do not tell which tensor is which.

    The classifier is taken along only where it has the same shape.

    Args:
        own: the network's tensors, in its order.
        saved: the file's.
        classifier: names of the network's classifier, its weight first.
        in_order: whether the file's order is that of a network.

    Example:
        >>> import torch
        >>> own = {"stem.weight": torch.zeros(4, 3), "head.weight": torch.zeros(2, 4)}
        >>> saved = {"layer1.w": torch.zeros(4, 3), "layer2.w": torch.zeros(1000, 4)}
        >>> match_by_shape(own, saved, ["head.weight"], in_order=False)
        {'stem.weight': 'layer1.w'}
    """
    mine = [name for name in own if name not in classifier and not is_counter(own[name])]
    theirs = [name for name in saved if not is_counter(saved[name])]
    for head in _heads(saved, theirs, own[classifier[0]].shape[1:]):
        rest = [name for name in theirs if name not in head]
        ways = [_in_order(own, mine, saved, rest, in_order=in_order), _by_tree(own, mine, saved, rest)]
        found = next((way for way in (ways if in_order else reversed(ways)) if way is not None), None)
        if found is None or any(name.endswith("running_var") and saved[found[name]].lt(0).any() for name in found):
            continue
        if [saved[name].shape for name in head] == [own[name].shape for name in classifier]:
            found |= zip(classifier, head, strict=True)
        return found
    return None


def _heads(saved: Tensors, names: list[str], width: Sequence[int]) -> list[tuple[str, ...]]:
    """What may be the classifier: weights of that width with their bias, or nothing. The last ones first."""
    found: list[tuple[str, ...]] = [()]
    for order in (names, sorted(names, key=_place)):
        for position, name in enumerate(order):
            if saved[name].ndim > 1 and saved[name].shape[1:] == width:
                beside = [each for each in order if each != name and _parent(each) == _parent(name) != ""]
                after = (beside or order[position + 1 :])[:1]
                bias = [each for each in after if saved[each].shape == saved[name].shape[:1]]
                found += [(name,), (name, *bias)]
    return list(dict.fromkeys(reversed(found)))


def is_counter(tensor: Tensor) -> bool:
    """Whether it counts batches: it decides nothing, and many files lack it."""
    return tensor.ndim == 0 and not tensor.is_floating_point()


def _in_order(
    own: Tensors, mine: list[str], saved: Tensors, theirs: list[str], *, in_order: bool
) -> dict[str, str] | None:
    """Both in a row: the network's own order beside the file's, where it has one, or beside that of its names."""
    orders = [theirs] if in_order else []
    if _names_tell(saved, theirs):
        orders.append(sorted(theirs, key=_place))
    for one in (mine, sorted(mine, key=_place)):
        for other in orders:
            if [own[name].shape for name in one] == [saved[name].shape for name in other]:
                return dict(zip(one, other, strict=True))
    return None


def _names_tell(saved: Tensors, names: Iterable[str]) -> bool:
    """Whether tensors of one layer that have the same shape have names that say which is which."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        alike.setdefault((_parent(name), *map(str, saved[name].shape)), []).append(name.rpartition(".")[2])
    return all(len(leaves) == 1 or _sortable(leaves) for leaves in alike.values())


def _sortable(names: Sequence[str]) -> bool:
    """Whether names have an order that is more than the alphabet's: parts of a layer, or numbers."""
    return all(name in RANKS for name in names) or len({re.sub(r"\d+", "0", name) for name in names}) == 1


def _by_tree(own: Tensors, mine: list[str], saved: Tensors, theirs: list[str]) -> dict[str, str] | None:
    """Both as trees of modules: those beside each other are matched by what they hold, else by name or number."""
    pairs = list(_pairs(_tree(mine), _tree(theirs), own, saved))
    return None if None in pairs else {one: other for pair in pairs if pair is not None for one, other in [pair]}


def _pairs(one: "Tree | str", other: "Tree | str", own: Tensors, saved: Tensors) -> Iterator[tuple[str, str] | None]:
    """Tensors that belong together; None where that cannot be told."""
    if isinstance(one, str) or isinstance(other, str):
        yield (one, other) if isinstance(one, str) and isinstance(other, str) else None
        return
    mine, theirs = _by_content(one, own), _by_content(other, saved)
    if {content: len(names) for content, names in mine.items()} != {
        content: len(names) for content, names in theirs.items()
    }:
        yield None
        return
    for content, names in mine.items():
        candidates = theirs[content]
        both = [name for name in names if name in candidates]
        ours, rest = ([name for name in each if name not in both] for each in (names, candidates))
        if len(ours) > 1 and not (_sortable(ours) and _sortable(rest)):
            yield None
            return
        ordered = zip(sorted(ours, key=_place), sorted(rest, key=_place), strict=True)
        for name, theirs_name in (*zip(both, both, strict=True), *ordered):
            yield from _pairs(one[name], other[theirs_name], own, saved)


def _tree(names: Iterable[str]) -> Tree:
    tree: Tree = {}
    for name in names:
        *path, leaf = name.split(".")
        node = tree
        for part in path:
            child = node.setdefault(part, {})
            node = child if isinstance(child, dict) else {}
        node[leaf] = name
    return tree


def _by_content(node: Tree, tensors: Tensors) -> dict[str, list[str]]:
    """The names of a node's children by the shapes below them."""
    found: dict[str, list[str]] = {}
    for name, child in node.items():
        found.setdefault(_content(child, tensors), []).append(name)
    return found


def _content(node: "Tree | str", tensors: Tensors) -> str:
    if isinstance(node, str):
        return str(tuple(tensors[node].shape))
    return f"[{' '.join(sorted(_content(child, tensors) for child in node.values()))}]"


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _place(name: str) -> tuple[list[tuple[int, int | str]], int, list[tuple[int, int | str]]]:
    """Where a name stands: layers by their numbers, a layer's tensors as PyTorch has them."""
    layer, _, leaf = name.rpartition(".")
    return _natural(layer), RANKS.get(leaf, len(RANKS)), _natural(leaf)


def _natural(name: str) -> list[tuple[int, int | str]]:
    """A key that sorts numbers as numbers."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]
