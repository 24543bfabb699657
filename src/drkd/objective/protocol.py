"""Whether something has the protocol of an objective, see `drkd.objective.objective`."""

from torch import nn

from drkd.utils.errors import InputError

PROTOCOL = ("name", "needs", "reset", "prepare", "update", "discard")
"""What a training loop uses of an objective, besides calling it."""


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
