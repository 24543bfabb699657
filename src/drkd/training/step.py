"""One optimizer step: forward, losses, backward, update; and no update from a loss that is not finite."""

import math
from typing import Any, Generic

import torch
from torch import Tensor, nn

from drkd.config import FitSettings
from drkd.training.checkpoint import TrainState
from drkd.training.freezing import Freezing
from drkd.training.learner import BatchT, Learner
from drkd.training.learning_rate import learning_rate
from drkd.utils.errors import InputError, NonFiniteLossError

CHECK_EVERY = 20
"""On an accelerator, a bad loss cancels its own step at once and is reported within this many steps."""


class Stepper(Generic[BatchT]):
    """Makes the steps of a training, and measures its epochs.

    Args:
        state: what is trained, and with what.
        learner: serves batches and computes their losses.
        settings: of the training.
        device: where it runs.
        freezing: what of the student learns in which epoch; by default all that wants a gradient.
    """

    def __init__(
        self,
        state: TrainState,
        learner: Learner[Any, BatchT],
        settings: FitSettings,
        device: torch.device,
        freezing: Freezing | None = None,
    ) -> None:
        self.state, self.learner, self.settings = state, learner, settings
        self.freezing = freezing or Freezing(state.student, settings)
        self.steps_per_epoch = len(learner.loader)
        self.parameters = list(state.student.parameters())
        self.guard = NonFiniteGuard(state, device)

    def begin(self, epoch: int) -> None:
        """Put everything into the mode of training, for the steps of `epoch`."""
        if self.freezing.begin(epoch):
            self.learner.wrap()
        self.state.objective.train()

    def step(self, batch: BatchT) -> bool:
        """Make one optimizer step; False where it was skipped, because a scaled gradient overflowed."""
        state, scaler = self.state, self.state.scaler
        rate = self.rate(state.result.step)
        for group in state.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        with self.guard:
            losses = self.learner.losses(batch)
        for parameter in self.parameters:  # what `zero_grad` does, without its bookkeeping
            parameter.grad = None
        scaler.scale(losses.total).backward()  # type: ignore[no-untyped-call]
        if self.settings.clip_norm is not None:
            scaler.unscale_(state.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm)
        self.guard.check(losses.parts["loss"], self.parameters)
        if not scaler.is_enabled():
            state.optimizer.step()
            state.sums.add(losses)
            return True
        scale = scaler.get_scale()
        scaler.step(state.optimizer)
        scaler.update()
        state.sums.add(losses)
        return scaler.get_scale() >= scale

    def measure(self, epoch: int) -> dict[str, float]:
        """The row of an epoch whose last step was just made: means over it, and the validation."""
        rate = self.rate(self.state.result.step - 1)
        return {"epoch": epoch, "lr": rate, **self.state.sums.means(), **self.learner.validate()}

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return learning_rate(step, self.settings, self.steps_per_epoch)


class NonFiniteGuard:
    """Stops an update from a loss that is not finite, and raises an error that says where.

    On the CPU the objective raises at once. An accelerator is not asked at every step, which would stall it: the fused
    optimizer gets a flag on the device that cancels the step, and the flag is read now and then. An optimizer that is
    not fused knows no such flag, so there the device is asked. As a context the guard adds the number of the step to an
    objective's own error.
    """

    def __init__(self, state: TrainState, device: torch.device) -> None:
        self.state = state
        self.name = state.objective.name
        self.device = device
        self.deferred = device.type != "cpu" and bool(state.optimizer.defaults.get("fused"))
        self.bad_step = torch.full((), -1, device=device)

    def __enter__(self) -> None:
        if self.deferred and self.state.result.step % CHECK_EVERY == 0:
            self.report()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, NonFiniteLossError):
            raise NonFiniteLossError(f"step {self.state.result.step}: {error}") from None
        if isinstance(error, ValueError) and "more than 1 value per channel" in str(error):
            raise InputError(
                "a batch norm of this network gets one value per channel, which it cannot normalise: use a "
                "--batch-size of 2 or more, or a larger --image-size"
            ) from error

    def check(self, loss: Tensor, parameters: list[nn.Parameter]) -> None:
        """Stop the coming update, or let a fused optimizer skip it, if `loss` or its gradient is not finite.

        A gradient scaler looks at gradients itself: theirs overflow now and then, and it lowers its scale.
        """
        scaled = self.state.scaler.is_enabled()
        gradients = [] if scaled else [p.grad for p in parameters if p.grad is not None]
        # not `nn.utils.get_total_norm`: it takes longer to group gradients by device than a small network for its step
        numbers = [loss, *(torch._foreach_norm(gradients) if gradients else ())]
        if not self.deferred:
            if not scaled and not all(math.isfinite(number.item()) for number in numbers):
                raise NonFiniteLossError(f"step {self.state.result.step}: {_bad_gradients(self.state)}")
            return
        bad = ~torch.stack(numbers).isfinite().all()
        if not scaled:
            optimizer: Any = self.state.optimizer
            optimizer.grad_scale, optimizer.found_inf = None, bad.float()
        self.bad_step = torch.where(bad & (self.bad_step < 0), self.state.result.step, self.bad_step)

    def report(self) -> None:
        """Raise if a step was cancelled."""
        step = int(self.bad_step) if self.deferred else -1
        if step >= 0:
            raise NonFiniteLossError(
                f"step {step}: the loss of `{self.name}` or its gradient is NaN or infinite; lower the learning rate"
            )


def _bad_gradients(state: TrainState) -> str:
    gradients = [(name, p.grad) for name, p in state.student.named_parameters() if p.grad is not None]
    bad = [parameter for parameter, gradient in gradients if not gradient.isfinite().all()]
    where = f"of {bad[0]}{f' and {len(bad) - 1} more' if bad[1:] else ''}" if bad else "as a whole"
    advice = "lower the learning rate or clip gradients"
    return f"the gradient of `{state.objective.name}` {where} is NaN or infinite; {advice}"
