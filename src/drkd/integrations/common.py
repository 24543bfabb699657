"""What the adapters share: data sets that number their rows, what an objective has learned, what cannot be had."""

from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from drkd.methods import cross_entropy
from drkd.objective.objective import Objective
from drkd.objective.protocol import check_protocol
from drkd.targets import CleanView, Frozen, Target
from drkd.utils.checks import IGNORED, typed
from drkd.utils.errors import InputError
from drkd.utils.files import read_about, read_tensors, write_tensors
from drkd.utils.labels import MixedLabels


class Indexed(Dataset[Any]):
    """A data set whose rows know their number, for methods that remember samples (`ps_kd`, `online_dr_kd`).

    A row that is a mapping gets the key `index`; one that is a tuple or list gets the number at its end.

    Args:
        dataset: with `len` and rows by number.

    Raises:
        InputError: for a data set without a length, or for a row that is neither a mapping nor a tuple or list.

    Example:
        >>> Indexed([("image", 3)])[0], Indexed([{"labels": 3}])[0]
        (('image', 3, 0), {'labels': 3, 'index': 0})
    """

    def __init__(self, dataset: Any) -> None:
        if not isinstance(dataset, Sized):
            raise InputError(
                f"`Indexed` needs a data set with a length, got {type(dataset).__name__}; have its rows yield the "
                "sample's number themselves"
            )
        self.dataset: Any = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        row = self.dataset[index]
        if isinstance(row, Mapping):
            return {**row, "index": index}
        if isinstance(row, (tuple, list)):
            return (*row, index)
        raise InputError(f"`Indexed` needs rows that are mappings, tuples or lists, got {type(row).__name__}")


class Logits(nn.Module):
    """A classifier as a network from inputs to logits: a teacher for `drkd.dr_kd`, `drkd.Ema` and so on.

    Args:
        model: called with a mapping's entries by name, with anything else as it is; its output has `logits`, or is a
            tensor, or a tuple that begins with one.

    Example:
        >>> Logits(nn.Linear(2, 3))({"input": torch.zeros(4, 2)}).shape
        torch.Size([4, 3])
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any) -> Tensor:
        return logits_of(self.model(**inputs) if isinstance(inputs, Mapping) else self.model(inputs))


def logits_of(outputs: Any) -> Tensor:
    """The logits among what a model returns: its `logits`, the first of a tuple, or the tensor itself."""
    if isinstance(outputs, Mapping):
        outputs = outputs.get("logits")
    elif isinstance(outputs, (tuple, list)):
        outputs = outputs[0]
    if not isinstance(outputs, Tensor):
        raise InputError(
            f"a classifier returns a tensor, a tuple, or an output with `logits`, got {type(outputs).__name__}; use a "
            "model with a classification head"
        )
    return outputs


def check_objective(objective: Objective, framework: str, *, provides: frozenset[str]) -> None:
    """Refuse an objective that a framework's own loop cannot serve.

    Raises:
        InputError: for what is no objective; where it needs more than `provides` or a look at the samples, or its loss
            is no mean over rows.
    """
    check_protocol(objective)
    missing = sorted(objective.needs - provides)
    if missing:
        raise InputError(
            f"`{objective.name}` needs {' and '.join(missing)}, which {framework} does not provide; train with "
            "`drkd.fit`, or in your own loop (docs/python.md)"
        )
    if any(isinstance(target, CleanView) for target in objective.modules()):
        raise InputError(
            f"`{objective.name}` needs the un-augmented samples before training, which {framework} does not provide; "
            "train with `drkd.fit`"
        )
    if getattr(objective, "reduction", "batchmean") != "batchmean":
        raise InputError(
            f"{framework} needs the mean over the batch, `{objective.name}` was made with "
            f'reduction="{objective.reduction}"; leave reduction out'
        )


def need_index(objective: Objective, index: Any, how: str) -> None:
    """Refuse a training batch without the samples' numbers where the method remembers samples; `how` to give them."""
    if "index" in objective.needs and index is None:
        raise InputError(
            f"`{objective.name}` needs each sample's index, and the batch has none; wrap the training data in "
            f"`drkd.integrations.Indexed`{how}"
        )


def check_mixed(objective: Objective, labels: object) -> None:
    """Refuse distributions as labels where the method remembers samples, unless it is said which samples were mixed."""
    if "index" in objective.needs and isinstance(labels, Tensor) and labels.is_floating_point():
        raise InputError(
            f"`{objective.name}` remembers samples by their index, and labels {typed(labels)} do not say whether and "
            "with which samples these were mixed; pass drkd.MixedLabels(labels, weight, partner_index), or "
            "drkd.MixedLabels(labels) where none was, or turn mixup and cutmix off"
        )


class SkippedSteps:
    """A callback of a `Trainer` that knows which steps a gradient scaler skipped.

    accelerate's `step_was_skipped` knows it by the optimizer that is not called; a fused one, which a Trainer takes by
    default, is called all the same and skips itself. By either the scale of the gradients falls.
    """

    _scale: float | None = None  # before the current step

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, optimizer: Any = None, **others: Any) -> None:
        self._scale = gradient_scale(optimizer)

    def was_skipped(self, optimizer: Any) -> bool:
        """Whether the current step was skipped."""
        before, now = self._scale, gradient_scale(optimizer)
        fell = before is not None and now is not None and now < before
        return fell or bool(getattr(optimizer, "step_was_skipped", False))


def gradient_scale(owner: Any) -> float | None:
    """The scale of the gradient scaler that something has; None without one."""
    scaler = getattr(owner, "scaler", None)
    return None if scaler is None else float(scaler.get_scale())


def count_rows(objective: Objective, labels: Tensor | MixedLabels) -> int:
    """How many rows count for an objective, which may have an ignored label of its own."""
    if isinstance(labels, MixedLabels) or labels.is_floating_point():
        labels = (labels if isinstance(labels, MixedLabels) else MixedLabels(labels)).heaviest
    return int(((labels != IGNORED) & (labels != getattr(objective, "ignore_index", IGNORED))).sum())


def validation_loss(objective: Objective) -> Objective:
    """Plain cross-entropy, with the same ignored label: what validation measures, whatever the method."""
    return cross_entropy(ignore_index=getattr(objective, "ignore_index", IGNORED))


def changes(objective: nn.Module) -> bool:
    """Whether anything of an objective changes during training: a weight that moves, a target that learns.

    Example:
        >>> import drkd
        >>> changes(drkd.tf_kd_reg()), changes(drkd.max_sup()), changes(drkd.ols())
        (False, True, True)
    """
    if not isinstance(objective, Objective):
        return True
    moves = any(callable(term.weight) for term in objective.terms)
    return moves or any(type(target).update is not Target.update for target in objective.targets)


def progress_state(objective: Objective) -> dict[str, Any]:
    """What an objective's `state_dict` does not hold: where its schedules are, and who its frozen teachers are."""
    return {"progress": objective.progress, "epoch": objective.epoch, "teachers": _teachers(objective)}


def restore(objective: Objective, learned: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
    """Put back a `state_dict` and what `progress_state` gave.

    Raises:
        InputError: if another teacher taught then.
    """
    restore_progress(objective, progress)
    objective.load_state_dict(dict(learned))
    objective.discard()


def restore_progress(objective: Objective, progress: Mapping[str, Any]) -> None:
    """Put back what `progress_state` gave.

    Raises:
        InputError: if another teacher taught then.
    """
    if list(progress["teachers"]) != _teachers(objective):
        raise InputError(
            f"the checkpoint was written with another teacher of `{objective.name}` (SHA-256 {progress['teachers']}, "
            f"now {_teachers(objective)}); use that teacher, or start a new training"
        )
    objective.progress, objective.epoch = float(progress["progress"]), int(progress["epoch"])


def write_learned(objective: Objective, path: Path) -> None:
    """Write what `restore` needs into one safetensors file."""
    write_tensors(path, objective.state_dict(), progress_state(objective))


def read_learned(objective: Objective, path: Path, device: torch.device) -> None:
    """Put back what `write_learned` wrote.

    Raises:
        InputError: where the file is missing, or another teacher taught then.
    """
    if not path.is_file():
        raise InputError(
            f"there is no {path}, which holds what `{objective.name}` has learned; resume from a checkpoint that was "
            "written with the same objective"
        )
    learned = {name: tensor.to(device) for name, tensor in read_tensors(path).items()}
    restore(objective, learned, read_about(path))


def _teachers(objective: Objective) -> list[str | None]:
    return [target.identity for target in objective.modules() if isinstance(target, Frozen)]
