"""Data that are not images: tables, words, anything else that a network takes."""

import torch
from torch import Tensor

from drkd.data.augment import Augmentation
from drkd.data.datasets import VALIDATION, Data, Split, hold_out
from drkd.data.record import DataRecord, rows_hash
from drkd.data.votes import split_votes
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import check_fraction
from drkd.utils.errors import InputError

Rows = tuple[Tensor, Tensor]
"""Inputs (N, ...) and integer labels (N,), or votes (N, K)."""


def from_tensors(
    train: Rows,
    test: Rows,
    *,
    val: Rows | None = None,
    classes: tuple[str, ...] | None = None,
    name: str = "tensors",
    seed: int = 0,
    validation: float = VALIDATION,
) -> Data:
    """Make a data set of tensors, which a network receives unchanged: neither scaled nor augmented.

    Scale the columns of a table yourself, with the statistics of the training rows.

    Args:
        train: inputs (N, ...) such as a table's float32 rows (N, F) or int64 words (N, L), and labels (N,). Labels
            may be annotators' votes (N, K): a training learns from their distribution, measures go by the largest.
        test: the same, read once.
        val: the same, for choosing the epoch; without it a fraction of the training rows is held out.
        classes: names, in the order of the labels; their numbers by default.
        name: for reports.
        seed, validation: for the held-out fraction, stratified; 0 for none. As in `load_data`.

    Raises:
        InputError: for splits that do not match, labels that are not classes, and non-finite inputs.

    Example:
        >>> rows, labels = torch.randn(30, 4), torch.arange(30) % 3
        >>> data = from_tensors((rows[:20], labels[:20]), (rows[20:], labels[20:]), validation=0.25)
        >>> len(data.train), len(data.val), len(data.test), data.classes
        (15, 5, 10, ('0', '1', '2'))
    """
    check_arguments(from_tensors, {"classes": classes, "name": name, "seed": seed})
    splits = {"train": train, "test": test} | ({} if val is None else {"val": val})
    for split, rows in splits.items():
        if not isinstance(rows, tuple | list):
            raise InputError(f"the {split} rows must be two tensors, inputs and labels, got {type(rows).__name__}")
        if len(rows) != 2 or not all(isinstance(part, Tensor) for part in rows):
            kinds = ", ".join(type(part).__name__ for part in rows)
            raise InputError(
                f"the {split} rows must be two tensors, inputs and labels, got {kinds}; pass torch.as_tensor of arrays"
            )
    check_fraction("validation", validation)
    voted = {split: split_votes(labels) for split, (_, labels) in splits.items()}
    widths = {probs.shape[1] for _, probs in voted.values() if probs is not None}
    labels = voted["train"][0]
    known = (
        len(classes) if classes is not None else max(widths) if widths else int(labels.max()) + 1 if len(labels) else 0
    )
    if widths - {known}:
        raise InputError(f"votes must be (N, {known}), a column for each class, got {sorted(widths)} columns")
    for split, (inputs, _) in splits.items():
        _check(split, inputs, voted[split][0], like=train[0], classes=known)
    held = {
        split: Split(inputs.detach(), voted[split][0].long(), probs=voted[split][1])
        for split, (inputs, _) in splits.items()
    }
    if val is None and validation:
        held["train"], held["val"] = hold_out(held["train"], validation, seed=seed)
    elif val is None:
        held["val"] = held["train"].select(torch.arange(0))
    names = classes if classes is not None else tuple(str(number) for number in range(known))
    three = held["train"], held["val"], held["test"]
    record = DataRecord(names, {}, rows_hash(held))
    return Data(name, names, *three, augmentation=Augmentation(), mean=(0.0,), std=(1.0,), record=record)


def _check(split: str, inputs: Tensor, labels: Tensor, *, like: Tensor, classes: int) -> None:
    """Refuse what could not be trained on or compared."""
    if inputs.dtype == torch.uint8:
        raise InputError(
            f"the {split} inputs are uint8, as images are; give words as int64 and columns as float32, and images "
            "to `drkd.as_data`"
        )
    if inputs.dim() < 2 or inputs.shape[1:] != like.shape[1:] or inputs.dtype != like.dtype:
        raise InputError(
            f"the {split} inputs must be (N, ...) like the training inputs, {tuple(like.shape)} of {like.dtype}, got "
            f"{tuple(inputs.shape)} of {inputs.dtype}"
        )
    if labels.is_floating_point() or labels.shape != inputs.shape[:1]:
        raise InputError(
            f"the {split} labels must be integers ({len(inputs)},), got {labels.dtype} {tuple(labels.shape)}"
        )
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
        found = f"{int(labels.min())} to {int(labels.max())}" if len(labels) else "none"
        raise InputError(f"the {split} labels must be from 0 to {classes - 1}, got {found}")
    if inputs.is_floating_point() and not inputs.isfinite().all():
        raise InputError(f"the {split} inputs hold NaN or infinite values; fill or drop them")
