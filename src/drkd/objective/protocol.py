"""Whether something has the protocol of an objective, see `drkd.objective.objective`."""

import inspect
from typing import Any

from torch import nn

from drkd.utils.errors import InputError

PROTOCOL = ("name", "needs", "reset", "prepare", "update", "discard")
"""What a training loop uses of an objective, besides calling it."""


def end_step(objective: Any, *, made: bool, progress: float, epoch: int) -> None:
    """Have an objective take in a step that was made, or forget one that was skipped: the last thing in a step.

    Where its `discard` takes no arguments, as in the first version of the protocol, the schedules move all the same.

    Example:
        >>> import drkd
        >>> objective = drkd.max_sup()
        >>> end_step(objective, made=False, progress=0.5, epoch=1)
        >>> objective.progress, objective.epoch
        (0.5, 1)
    """
    if made:
        objective.update(progress=progress, epoch=epoch)
        return
    try:
        inspect.signature(objective.discard).bind(progress=progress, epoch=epoch)
    except TypeError:
        objective.progress, objective.epoch = progress, epoch
        objective.discard()
    else:
        objective.discard(progress=progress, epoch=epoch)


def check_protocol(objective: object, *more: str) -> None:
    """Refuse what has not the protocol of an objective, and `more` attributes.

    Raises:
        InputError: for a plain loss, a method that was not called, a name.

    Example:
        >>> check_protocol(print)
        Traceback (most recent call last):
        ...
        drkd.utils.errors.InputError: expected an objective such as drkd.cross_entropy(), got the function print
    """
    missing = ", ".join(name for name in (*PROTOCOL, *more) if not hasattr(objective, name))
    if isinstance(objective, nn.Module) and not missing:
        return
    got = repr(objective) if isinstance(objective, str) else type(objective).__name__
    if hasattr(objective, "__name__"):
        got = f"the function {objective.__name__}"
    elif isinstance(objective, nn.Module):
        got = f"{got}, which has no {missing} (docs/python.md lists what a training calls)"
    raise InputError(f"expected an objective such as drkd.cross_entropy(), got {got}")
