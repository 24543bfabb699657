"""timm's training tasks: student and objective as one task, as timm's train script wants it.

    task = SelfDistillationTask(model, drkd.dr_kd(teacher), device=device)
    ...                                                     # prepare_distributed, compile, resume, the optimizer
    task.follow(optimizer, epochs=epochs, updates_per_epoch=len(loader_train))

The loop itself stays as it is: the task learns of each step from the optimizer.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from drkd.integrations.common import (
    changes,
    check_mixed,
    check_objective,
    need_index,
    progress_state,
    restore,
    validation_loss,
)
from drkd.objective.objective import Objective
from drkd.objective.protocol import end_step
from drkd.utils.errors import InputError
from drkd.utils.labels import MixedLabels

try:
    from timm.task import ClassificationTask

    ClassificationTask.get_task_state  # noqa: B018  # timm 1.0.27
except (ModuleNotFoundError, AttributeError) as missing:
    raise ImportError("drkd.integrations.timm needs timm 1.0.27 or newer; install drkd[timm]") from missing


class SelfDistillationTask(ClassificationTask):
    """A `timm.task` that trains a model with an objective.

    Args:
        model: the student.
        objective: the method, with its teacher. It moves with the task.
        device, dtype, verbose: as for every task.

    Called with inputs, targets, and for methods that remember samples their numbers (B,), it returns `loss`, `output`
    (the logits) and the detached parts of the loss. Targets are integers (B,), or those of timm's mixup and cutmix
    (B, K); a method that remembers samples has to be told what was mixed, by `drkd.MixedLabels`. Without gradients the
    loss is plain cross-entropy, and the objective is not asked. What the objective has learned is part of timm's
    checkpoints (`task_state`).

    Raises:
        InputError: for a number that is missing, soft targets where samples are remembered, an objective that wants
            batches of its own, and one that changes during training but was never told of a step.

    Example:
        >>> import drkd
        >>> task = SelfDistillationTask(nn.Linear(4, 3), drkd.label_smoothing(0.1), verbose=False)
        >>> list(task(torch.zeros(2, 4), torch.tensor([0, 1])))
        ['loss', 'output', 'ce', 'smoothing', 'smoothing_kl']
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        verbose: bool = True,
    ) -> None:
        check_objective(objective, "timm", provides=frozenset({"inputs", "index"}))
        super().__init__(model, criterion=objective, device=device, dtype=dtype, verbose=verbose)
        self.objective = objective
        objective.reset()  # a checkpoint's state is loaded later
        self.validation = validation_loss(objective)
        self._updates = self._calls = 0
        self._length: tuple[int, int, int] | None = None

    def follow(
        self, optimizer: torch.optim.Optimizer, *, epochs: int, updates_per_epoch: int, accumulation: int = 1
    ) -> None:
        """Learn of each step from the optimizer; call it once, before training.

        Args:
            optimizer: the one that trains the model, as timm made it.
            epochs, updates_per_epoch: the length of the training, in optimizer steps.
            accumulation: batches per step. A step that a gradient scaler skips is known by it: its batches are
                forgotten when the next one comes, or a checkpoint; with a fused optimizer at once.
        """
        if min(epochs, updates_per_epoch, accumulation) < 1:
            raise InputError(
                f"a training has at least one epoch, update and batch, got {epochs}, {updates_per_epoch} and "
                f"{accumulation}; give its length"
            )
        self._length = epochs, updates_per_epoch, accumulation
        inner = getattr(optimizer, "base_optimizer", optimizer)  # Lookahead makes its steps by another one
        inner.register_step_post_hook(self._stepped)

    def forward(self, input: Tensor, target: Tensor | MixedLabels, index: Tensor | None = None) -> dict[str, Tensor]:
        if not torch.is_grad_enabled():
            logits = self.trainable_module(input)
            return {"loss": self.validation(logits, target)["loss"], "output": logits}
        check_mixed(self.objective, target)
        need_index(
            self.objective, index, ", and call the task with the last element of each batch: task(input, target, index)"
        )
        if self._length is None and changes(self.objective):
            raise InputError(
                f"`{self.objective.name}` changes during training and does not see the steps; call "
                "task.follow(optimizer, epochs=..., updates_per_epoch=...) before training"
            )
        self._forget_skipped()
        logits = self.trainable_module(input)
        losses = self.objective(logits, target, inputs=input, index=index)
        self._calls += 1
        return {"loss": losses.pop("loss"), "output": logits, **losses}

    def get_task_state(self, module: nn.Module | None = None, ema: bool = False) -> dict[str, Any]:
        if ema:
            return {}
        self._forget_skipped()
        return {
            "learned": self.objective.state_dict(),
            "progress": progress_state(self.objective),
            "updates": self._updates,
        }

    def load_task_state(
        self, state: dict[str, Any] | None, strict: bool = True, module: nn.Module | None = None, ema: bool = False
    ) -> None:
        if ema:
            return
        if state:
            restore(self.objective, state["learned"], state["progress"])
            self._updates, self._calls = int(state["updates"]), 0
        elif strict and changes(self.objective):
            raise InputError(
                f"the checkpoint does not hold what `{self.objective.name}` has learned; resume from one that this "
                "task wrote, or load the weights into the model before making the task"
            )

    def _stepped(self, optimizer: Any, args: Any, others: Any) -> None:
        """Called by the optimizer after each step; a fused one is called for skipped steps, too, and skips itself."""
        overflowed = getattr(optimizer, "found_inf", None)  # a gradient scaler says so to a fused optimizer
        self._end_step(made=overflowed is None or not bool(overflowed))

    def _forget_skipped(self) -> None:
        """A whole step's batches and no step since: a gradient scaler skipped it."""
        if self._length is not None and self._calls == self._length[2]:
            self._end_step(made=False)

    def _end_step(self, *, made: bool) -> None:
        epochs, updates_per_epoch, _ = cast(tuple[int, int, int], self._length)
        self._updates += 1  # timm counts skipped ones, too
        self._calls = 0
        progress = min(1.0, self._updates / (epochs * updates_per_epoch))
        end_step(self.objective, made=made, progress=progress, epoch=self._updates // updates_per_epoch)
