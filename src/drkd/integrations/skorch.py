"""skorch: an objective as `criterion=`, and a classifier that knows teachers, schedules and samples' numbers.

net = SelfDistillationClassifier(module, criterion=Criterion(drkd.dr_kd(teacher)))
net.fit(X, y)
"""

import json
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from drkd.integrations.common import (
    changes,
    check_mixed,
    check_objective,
    count_rows,
    need_index,
    progress_state,
    restore_progress,
    validation_loss,
)
from drkd.objective.objective import Objective
from drkd.training.loop import warn_if_nothing_was_rectified
from drkd.utils.errors import InputError

try:
    from skorch import NeuralNetClassifier
    from skorch.utils import to_tensor
except ModuleNotFoundError as missing:
    raise ImportError(f"drkd.integrations.skorch needs {missing.name}; install drkd[skorch]") from missing


class Criterion(nn.CrossEntropyLoss):  # by its kind skorch knows that a module answers with logits
    """An objective as a criterion: of logits (B, K) and integer labels (B,), or distributions (B, K).

    In a plain `NeuralNetClassifier` it takes methods that need nothing else and never change; the others want a
    `SelfDistillationClassifier`. Without gradients the loss is plain cross-entropy, and the objective is not asked.
    What the objective has learned is part of the `state_dict`, which skorch saves as `f_criterion`.

    Args:
        objective: the method, with its teacher.

    Raises:
        InputError: for an objective that wants batches of its own, or more than a plain classifier gives it.

    Example:
        >>> import drkd
        >>> Criterion(drkd.label_smoothing(0.1))(torch.zeros(2, 4, requires_grad=True), torch.tensor([0, 1])).item()
        1.3862943649291992
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        check_objective(objective, "skorch", provides=frozenset({"inputs", "index"}))
        self.objective = objective
        self.validation = validation_loss(objective)
        self.told_of_steps = False
        self.parts: dict[str, Tensor] = {}
        self.rows = 0  # that count in them

    def forward(self, input: Tensor, target: Tensor, inputs: Any = None, index: Tensor | None = None) -> Tensor:
        if not torch.is_grad_enabled():
            return cast(Tensor, self.validation(input, target)["loss"])
        if not self.told_of_steps and (self.objective.needs or changes(self.objective)):
            raise InputError(
                f"`{self.objective.name}` needs a teacher's inputs, samples' numbers or a schedule, which a criterion "
                "does not receive; use drkd.integrations.skorch.SelfDistillationClassifier"
            )
        check_mixed(self.objective, target)
        losses: dict[str, Tensor] = self.objective(input, target, inputs=inputs, index=index)
        self.parts = {name: value.detach() for name, value in losses.items() if name != "loss"}
        self.rows = count_rows(self.objective, target)
        return losses["loss"]

    def get_extra_state(self) -> Tensor:
        text = json.dumps(progress_state(self.objective))
        return torch.tensor(list(text.encode()), dtype=torch.uint8)  # a tensor, for safetensors' sake

    def set_extra_state(self, state: Tensor) -> None:
        restore_progress(self.objective, json.loads(bytes(state.tolist())))
        self.objective.discard()


class SelfDistillationClassifier(NeuralNetClassifier):
    """A `NeuralNetClassifier` whose criterion is a `Criterion`, for every method.

    `max_epochs` is the length of the schedules. For methods that remember samples X is a dictionary with the key
    `index`, the samples' numbers. Of a dictionary the module gets the rest: by position where it is one entry, else by
    name. The history has the mean of every part of the loss.

    Raises:
        InputError: for another criterion, or a missing number.

    Example:
        >>> import drkd
        >>> objective = drkd.max_sup()
        >>> net = SelfDistillationClassifier(
        ...     nn.Linear(2, 2), criterion=Criterion(objective), max_epochs=3, verbose=0, train_split=None
        ... )
        >>> _ = net.fit(torch.zeros(4, 2), torch.tensor([0, 1, 0, 1]))
        >>> objective.progress, objective.epoch
        (1.0, 3)
    """

    criterion_: Any
    history: Any
    max_epochs: int
    device: str

    def initialize_criterion(self) -> Any:
        super().initialize_criterion()
        if not isinstance(self.criterion_, Criterion):
            raise InputError(
                f"a SelfDistillationClassifier needs criterion=Criterion(objective), got "
                f"{type(self.criterion_).__name__}; wrap the objective"
            )
        self.criterion_.told_of_steps = True
        self.criterion_.objective.reset()
        return self

    def infer(self, x: Any, **fit_params: Any) -> Any:
        return super().infer(_without_index(x), **fit_params)

    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, *args: Any, **others: Any) -> Tensor:  # noqa: N803
        logits = y_pred[0] if isinstance(y_pred, tuple) else y_pred
        inputs = to_tensor(_without_index(X), device=self.device)
        index = X.get("index") if isinstance(X, Mapping) else None
        if torch.is_grad_enabled():
            need_index(self.criterion_.objective, index, ' or give X as {"inputs": X, "index": np.arange(len(X))}')
        index = None if index is None else to_tensor(index, device=self.device)
        return cast(Tensor, self.criterion_(logits, to_tensor(y_true, device=self.device), inputs, index))

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **others: Any) -> None:
        super().on_epoch_begin(net, dataset_train=dataset_train, **others)
        self.steps_per_epoch_ = len(self.get_iterator(dataset_train, training=True))
        self.step_ = 0
        self.sums_: dict[str, tuple[float, int]] = {}  # and their rows: a term of weight 0 has only some parts

    def on_batch_end(self, net: Any, batch: Any = None, training: bool = False, **others: Any) -> None:
        super().on_batch_end(net, batch=batch, training=training, **others)
        if training:  # skorch makes a step for every batch
            self.step_ += 1
            rows = self.criterion_.rows
            for name, value in self.criterion_.parts.items():
                total, counted = self.sums_.get(name, (0.0, 0))
                self.sums_[name] = total + value.item() * rows, counted + rows
            done = (len(self.history) - 1) * self.steps_per_epoch_ + self.step_
            progress = min(1.0, done / (self.max_epochs * self.steps_per_epoch_))
            self.criterion_.objective.update(progress=progress, epoch=done // self.steps_per_epoch_)

    def on_epoch_end(self, net: Any, **others: Any) -> None:
        for name, (total, rows) in self.sums_.items():
            self.history.record(f"train_{name}", total / max(1, rows))
        super().on_epoch_end(net, **others)

    def on_train_end(self, net: Any, **others: Any) -> None:
        rows = [{"rectified": row["train_rectified"]} for row in self.history if "train_rectified" in row]
        if rows:
            warn_if_nothing_was_rectified(self.criterion_.objective.name, rows)
        super().on_train_end(net, **others)


def _without_index(x: Any) -> Any:
    """X without the samples' numbers, which are no business of the module."""
    if not isinstance(x, Mapping):
        return x
    rest = {name: value for name, value in x.items() if name != "index"}
    return next(iter(rest.values())) if len(rest) == 1 else rest
