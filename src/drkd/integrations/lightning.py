"""Lightning: a mix-in that computes the loss in `training_step`, and a callback that does all the rest.

    class Classifier(Distilling, LightningModule):
        def training_step(self, batch, batch_idx):
            inputs, labels = batch
            return self.distil(self(inputs), labels, inputs=inputs)

    Trainer(callbacks=[Distillation(drkd.dr_kd(teacher))]).fit(classifier, loader)

The callback moves teacher and targets to the device, tells the objective of every step that was made, and keeps in the
checkpoints what it has learned and the state of the random numbers, which Lightning does not.
"""

import copy
import random
from collections.abc import Callable
from typing import Any, TypedDict, cast

import numpy as np
import torch
from torch import Tensor, nn

from drkd.integrations.common import (
    changes,
    check_mixed,
    check_objective,
    count_rows,
    gradient_scale,
    need_index,
    progress_state,
    restore,
    validation_loss,
)
from drkd.methods import cross_entropy, dr_kd
from drkd.objective.objective import Objective
from drkd.objective.protocol import end_step
from drkd.training.loop import warn_if_nothing_was_rectified
from drkd.utils.errors import InputError, NonFiniteLossError
from drkd.utils.labels import MixedLabels

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError as missing:
    raise ImportError(f"drkd.integrations.lightning needs {missing.name}; install drkd[lightning]") from missing


class Distillation(Callback):
    """An objective in a Lightning training.

    Args:
        objective: the method. Its teacher is no part of the module and of no checkpoint.

    Raises:
        InputError: for an objective that wants batches of its own; when the training starts, for a method with a
            schedule in a training without an end.

    Example:
        >>> import drkd
        >>> sorted(Distillation(drkd.tf_kd_reg()).state_dict())
        ['learned', 'progress', 'random']
    """

    def __init__(self, objective: Objective) -> None:
        check_objective(objective, "Lightning", provides=frozenset({"inputs", "index"}))
        self.objective = objective
        self.validation = validation_loss(objective)
        self._steps = 0.0  # of the whole training
        self._step = 0  # optimizer steps made so far
        self._scale: float | None = None  # of the gradients, before the current step
        self._random: RandomState | None = None  # from a checkpoint
        self._rectified: list[dict[str, float]] = []  # the part of each epoch

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.objective.to(pl_module.device).train()
        if stage == "fit" and not trainer.global_step:  # a checkpoint is loaded later
            self.objective.reset()

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        if self._random is not None:  # just before the loader shuffles
            _set_random_state(self._random)
            self._random = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.objective.to(pl_module.device)
        self._step, self._rectified = trainer.global_step, []
        self._steps = float(trainer.estimated_stepping_batches)
        if self._steps == float("inf") and changes(self.objective):
            raise InputError(
                f"`{self.objective.name}` changes during training, which has no end here; give the Trainer "
                "max_epochs or max_steps"
            )

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self._scale = gradient_scale(trainer.precision_plugin)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        stepped, self._step = trainer.global_step > self._step, trainer.global_step
        scale = gradient_scale(trainer.precision_plugin)
        progress = min(1.0, trainer.global_step / self._steps)
        completed = trainer.current_epoch + int(trainer.is_last_batch)
        overflowed = scale is not None and self._scale is not None and scale < self._scale
        without_loss = pl_module.automatic_optimization and not outputs  # of `training_step`
        if without_loss or stepped:
            made = not without_loss and not overflowed
            end_step(self.objective, made=made, progress=progress, epoch=completed)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self._rectified:
            warn_if_nothing_was_rectified(self.objective.name, self._rectified)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if "train_rectified" in trainer.callback_metrics:
            self._rectified.append({"rectified": float(trainer.callback_metrics["train_rectified"])})
        mean = trainer.callback_metrics.get("train_loss")
        if mean is not None and not mean.isfinite():  # on the CPU the objective itself stopped at once
            raise NonFiniteLossError(
                f"epoch {trainer.current_epoch}: the loss of `{self.objective.name}` is NaN or infinite; lower the "
                "learning rate"
            )

    def state_dict(self) -> dict[str, Any]:
        return {
            "learned": self.objective.state_dict(),
            "progress": progress_state(self.objective),
            "random": _random_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        restore(self.objective, state_dict["learned"], state_dict["progress"])
        self._random = state_dict["random"]


class Distilling:
    """A mix-in for a `LightningModule`, before it among the bases: `self.distil(...)` is the loss.

    Example:
        >>> import drkd
        >>> from lightning.pytorch import LightningModule
        >>> class Classifier(Distilling, LightningModule):
        ...     def training_step(self, batch, batch_idx):
        ...         inputs, labels = batch
        ...         return self.distil(self(inputs), labels, inputs=inputs)
        >>> Classifier.distil.__name__
        'distil'
    """

    trainer: Any
    log_dict: Any

    def distil(
        self, logits: Tensor, labels: Tensor | MixedLabels, *, inputs: Any = None, index: Tensor | None = None
    ) -> Tensor:
        """The loss of the `Distillation` among the Trainer's callbacks; its parts are logged, averaged over the epoch.

        Args:
            logits: (B, K), of the student.
            labels: (B,), integers; -100, or the objective's `ignore_index`, for rows that do not count. Or
                distributions (B, K), such as those of torchvision's MixUp and CutMix; a method that remembers samples
                has to be told what was mixed, by `drkd.MixedLabels`.
            inputs: what the student saw, for the teacher.
            index: (B,), the samples' numbers, for methods that remember samples.

        Returns:
            A scalar. Outside of training it is the plain cross-entropy, and the objective is not asked.

        Raises:
            InputError: without a `Distillation`, for missing inputs or index, and for distributions where samples are
                remembered.
        """
        callbacks = [callback for callback in self.trainer.callbacks if isinstance(callback, Distillation)]
        if len(callbacks) != 1:
            raise InputError(
                f"the Trainer needs one `Distillation` among its callbacks, got {len(callbacks)}; pass "
                "callbacks=[Distillation(objective)]"
            )
        objective = callbacks[0].objective
        if not self.trainer.training:
            return cast(Tensor, callbacks[0].validation(logits, labels)["loss"])
        check_mixed(objective, labels)
        need_index(objective, index, ", and pass the last element of each batch as index=")
        losses: dict[str, Tensor] = objective(logits, labels, inputs=inputs, index=index)
        if rows := count_rows(objective, labels):
            parts = {f"train_{name}": value.detach() for name, value in losses.items()}
            self.log_dict(parts, on_step=False, on_epoch=True, batch_size=rows)
        return losses["loss"]


def self_distill(
    module: Any,
    make_trainer: Callable[[list[Any]], Any],
    method: Callable[[nn.Module], Objective] = dr_kd,
    **fit: Any,
) -> Any:
    """The whole recipe: train a copy of the module with cross-entropy, freeze it, train the module.

    Args:
        module: a `LightningModule` with `Distilling`, whose `forward` goes from inputs to logits; becomes the student.
        make_trainer: makes a Trainer with the callbacks that it is given, called once for each training; seed the
            random numbers in it (`seed_everything`), so that both see the same batches.
        method: from the teacher to an objective.
        fit: what `Trainer.fit` takes, such as the loaders; for both trainings.

    Returns:
        The trained self-teacher, without a trainer.
    """
    self_teacher = copy.deepcopy(module)
    make_trainer([Distillation(cross_entropy())]).fit(self_teacher, **fit)
    self_teacher.trainer = None  # its copy inside the target needs none
    make_trainer([Distillation(method(self_teacher))]).fit(module, **fit)
    return self_teacher


class RandomState(TypedDict):
    """The state of every generator of random numbers, as a checkpoint can hold it."""

    python: tuple[Any, ...]
    numpy: tuple[Any, ...]
    torch: Tensor
    cuda: list[Tensor]


def _random_state() -> RandomState:
    numpy: Any = np.random.get_state()
    name, keys, *rest = numpy
    return {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_state(state: RandomState) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])
