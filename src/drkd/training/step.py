"""One optimizer step: forward, losses, backward, update; and no update from a loss that is not finite."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from drkd.data.loader import Batch
from drkd.training.checkpoint import TrainState
from drkd.utils.errors import InputError, NonFiniteLossError

CHECK_EVERY = 20
"""On an accelerator, a bad loss cancels its own step at once and is reported within this many steps."""


def take_step(
    model: Callable[[Tensor], Tensor],
    state: TrainState,
    batch: Batch,
    rate: float,
    precision: str,
    clip_norm: float | None,
    watch: "NonFiniteGuard",
) -> tuple[dict[str, Tensor], Tensor, bool]:
    """One optimizer step.

    Args:
        model: from inputs to logits: the student, or what stands around it.
        state: what is trained, and with what.
        batch: one of the loader's.
        rate: the learning rate of this step.
        precision, clip_norm: see `drkd.fit`.
        watch: over this training's losses.

    Returns:
        The losses, the logits, and whether the step was made (a scaled gradient may have overflowed).
    """
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    with torch.autocast(batch.inputs.device.type, getattr(torch, precision), enabled=precision != "float32"):
        logits = model(batch.inputs)
        with watch.at_step(state.done.step):
            losses = state.objective(logits, batch.labels, inputs=batch.inputs, index=batch.index)
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler.scale((losses["loss"] * batch.loss_scale).sum()).backward()  # of one number, or of one per row
    if clip_norm is not None:
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(state.student.parameters(), clip_norm)
    scale = state.scaler.get_scale()
    watch.guard(state, losses["loss"])
    state.scaler.step(state.optimizer)
    state.scaler.update()
    return losses, logits.detach(), state.scaler.get_scale() >= scale


class NonFiniteGuard:
    """Sees to it that no update is made from a loss that is not finite, and that somebody is told.

    On the CPU the objective raises at once. An accelerator is not asked at every step, which would stall it: the
    optimizer gets a flag on the device that cancels the step, and the flag is read now and then.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = name
        self.device = device
        self.deferred = device.type != "cpu"
        self.step = 0
        self.bad_step = torch.full((), -1, device=device)

    def at_step(self, step: int) -> "NonFiniteGuard":
        self.step = step
        return self

    def __enter__(self) -> None:
        if self.deferred and self.step % CHECK_EVERY == 0:
            self.report()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, NonFiniteLossError):
            raise NonFiniteLossError(f"step {self.step}: {error}") from None

    def guard(self, state: TrainState, loss: Tensor) -> None:
        """Stop the coming update, or let a fused optimizer skip it, if `loss` or its gradient is not finite.

        A gradient scaler looks at gradients itself: theirs overflow now and then, and it lowers its scale.
        """
        bad = ~loss.detach().isfinite().all()
        if not state.scaler.is_enabled():
            gradients = [p.grad for p in state.student.parameters() if p.grad is not None]
            bad = bad | ~nn.utils.get_total_norm(gradients).isfinite()
            if self.deferred:
                optimizer: Any = state.optimizer
                optimizer.grad_scale, optimizer.found_inf = None, bad.float()
            elif bad:
                raise NonFiniteLossError(f"step {self.step}: {_bad_gradients(self.name, state.student)}")
        if self.deferred:
            self.bad_step = torch.where(bad & (self.bad_step < 0), self.step, self.bad_step)

    def report(self) -> None:
        """Raise if a step was cancelled."""
        step = int(self.bad_step) if self.deferred else -1
        if step >= 0:
            raise NonFiniteLossError(
                f"step {step}: the loss of `{self.name}` or its gradient is NaN or infinite; lower the learning rate"
            )


def _bad_gradients(name: str, student: nn.Module) -> str:
    gradients = [(name, p.grad) for name, p in student.named_parameters() if p.grad is not None]
    bad = [parameter for parameter, gradient in gradients if not gradient.isfinite().all()]
    where = f"of {bad[0]}{f' and {len(bad) - 1} more' if bad[1:] else ''}" if bad else "as a whole"
    return f"the gradient of `{name}` {where} is NaN or infinite; lower the learning rate or clip gradients"


def make_optimizer(
    kind: str, student: nn.Module, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """`sgd` with `momentum`, or `adamw`, over all parameters that want a gradient."""
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    if not parameters:
        raise InputError("the student has no parameters to train; pass a network with requires_grad parameters")
    fused = parameters[0].device.type in ("cpu", "cuda")
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=fused)
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=fused)
