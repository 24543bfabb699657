"""What the package must know of a method."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from drkd.objective.objective import Objective

FILLED_IN = ("teacher", "student", "epochs")
"""Parameters of a method that `create` fills in: they are no settings."""


@dataclass(frozen=True)
class Range:
    """Where a setting is searched: from `low` to `high`, in steps of `step` or, with `log`, on a logarithmic scale."""

    low: float
    high: float
    step: float | None = None
    log: bool = False


SEARCH_SPACE = {
    "alpha": Range(0.05, 0.95, step=0.05),
    "temperature": Range(1.0, 10.0, log=True),
    "epsilon": Range(0.01, 0.6, log=True),
    "correct_prob": Range(0.5, 0.99),
    "weight": Range(0.02, 2.0, log=True),
}
"""Where `drkd tune` searches a setting of this name, unless its method says otherwise."""


@dataclass(frozen=True)
class MethodInfo:
    """What the package knows of a method.

    Attributes:
        name: as on the command line.
        make: the function that returns the objective.
        label: the name as papers write it, for reports.
        colour: in plots; None leaves it to matplotlib.
        teacher: `none`; `given`, as the caller chooses; or `self`, the student's own trained copy.
        doubles_batch: whether its batches hold every sample twice.
        clean_view: whether its teacher sees un-augmented images.
        search_space: where `drkd tune` searches its settings.
        page: its documentation, from the repository's root.
        settings: the names of its own arguments.
    """

    name: str
    make: Callable[..., Objective]
    label: str
    colour: str | None
    teacher: Literal["none", "given", "self"]
    doubles_batch: bool
    clean_view: bool
    search_space: Mapping[str, Range]
    page: str
    settings: tuple[str, ...]

    @property
    def costs_double(self) -> bool:
        """Whether a training costs about twice that of cross-entropy, so that a fair control trains twice as long."""
        return self.teacher == "self" or self.doubles_batch


def describe(
    name: str, function: Callable[..., Objective], *, self_taught: bool, search_space: Mapping[str, Range] | None = None
) -> MethodInfo:
    """What a function's arguments say of the method that it makes; see `method`."""
    parameters = inspect.signature(function).parameters.values()
    own = tuple(p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.name not in FILLED_IN)
    ranges = {**SEARCH_SPACE, **(search_space or {})}
    takes_teacher = any(p.name == "teacher" for p in parameters)
    return MethodInfo(
        name=name,
        make=function,
        label=name,
        colour=None,
        teacher="none" if not takes_teacher else "self" if self_taught else "given",
        doubles_batch=False,
        clean_view=False,
        search_space={setting: ranges[setting] for setting in ranges if setting in own},
        page="",
        settings=own,
    )
