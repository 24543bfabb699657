"""What the shell completes: names by the catalog, choices by their types. Nothing here loads torch."""

import typing
from collections.abc import Callable, Mapping

from drkd.cli import catalog

Complete = Callable[[str], list[tuple[str, str]]]
"""From what is typed to what it may become, each with a line of help."""


def _models() -> Mapping[str, str]:
    return {**catalog.models(), **catalog.detectors(), **catalog.segmenters()}


def _datasets() -> Mapping[str, str]:
    return {name: line for name, line in catalog.datasets().items() if name != "FOLDER"}


NAMES: Mapping[str, Callable[[], Mapping[str, str]]] = {
    "method": catalog.methods,
    "methods": catalog.methods,
    "model": _models,
    "data": _datasets,
    "recipe": lambda: {recipe.name: recipe.table for recipe in catalog.recipes()},
}
"""Options, and arguments, whose values have names."""


def completion(option: str, annotation: object = None) -> Complete | None:
    """What completes the values of an option; None leaves it to the shell, which knows files.

    Example:
        >>> completion("methods")("dr_kd,label")[0][0]
        'dr_kd,label_smoothing'
        >>> completion("schedule", typing.Literal["step", "cosine"])("c")
        [('cosine', '')]
    """
    read = NAMES.get(option)
    if read is None:
        choices = dict.fromkeys(choices_of(annotation), "")
        if not choices:
            return None
        read = choices.copy

    def complete(incomplete: str) -> list[tuple[str, str]]:
        before, comma, last = incomplete.rpartition(",")  # of a list the last one is typed
        return [(f"{before}{comma}{name}", line) for name, line in read().items() if name.startswith(last)]

    return complete


def choices_of(annotation: object) -> list[str]:
    """The words that an option takes; none where it takes others too.

    Example:
        >>> choices_of(typing.Literal["on", "off"] | None), choices_of(str)
        (['on', 'off'], [])
    """
    if typing.get_origin(annotation) is typing.Literal:
        return [str(choice) for choice in typing.get_args(annotation)]
    return [choice for part in typing.get_args(annotation) for choice in choices_of(part)]
