"""Options that have no effect beside others. Who gives one expects something of it, so it is refused."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from drkd.config.fields import as_bytes
from drkd.utils.errors import InputError

GIVEN = ("command line", "file")
"""Where the values come from that somebody gave."""


class WithoutEffect(NamedTuple):
    """When an option has no effect.

    Attributes:
        option: by field name.
        because: the option that decides, by field name.
        when: whether the value of that option leaves `option` without effect.
        instead: what to choose for the option to count.
    """

    option: str
    because: str
    when: Callable[[Any], bool]
    instead: str


TABLE = (
    WithoutEffect("momentum", "optimizer", lambda name: name != "sgd", "--optimizer sgd"),
    WithoutEffect("milestones", "schedule", lambda name: name != "step", "--schedule step"),
    WithoutEffect("gamma", "schedule", lambda name: name != "step", "--schedule step"),
    WithoutEffect("pretrained", "task", lambda name: name == "detection", "--task classification"),
    WithoutEffect("cache", "task", lambda name: name == "detection", "--task classification"),
    WithoutEffect("cache_size", "task", lambda name: name == "detection", "--task classification"),
    WithoutEffect("cache", "cache_size", lambda size: as_bytes(size) == 0, "--cache-size 2GB"),
    WithoutEffect("calibration", "quantize", lambda name: name is None, "--quantize int8"),
    WithoutEffect("calibration_samples", "quantize", lambda name: name is None, "--quantize int8"),
)
"""Settings of methods are not here: a method refuses what it does not take."""


def refuse_without_effect(config: BaseModel, source: Mapping[str, str]) -> None:
    """Refuse an option that was given and has no effect.

    A file may hold a default of such an option: a run's own `config.yaml` has all of them.

    Args:
        config: whose options are looked at.
        source: where each of its values came from, as `resolve` says it.

    Raises:
        InputError: for the first such option, with what to do.

    Example:
        >>> from drkd.config import TrainConfig, resolve
        >>> resolve(TrainConfig, {"optimizer": "adamw", "momentum": 0.5})
        Traceback (most recent call last):
        ...
        drkd.utils.errors.InputError: --momentum has no effect with --optimizer adamw; leave it out, or choose \
--optimizer sgd
    """
    for option, because, when, instead in TABLE:
        if {option, because} <= set(type(config).model_fields) and was_given(config, source, option):
            value = getattr(config, because)
            if when(value):
                flag = f"--{because.replace('_', '-')}"
                beside = f"without {flag}" if value is None else f"with {flag} {value}"
                raise InputError(
                    f"--{option.replace('_', '-')} has no effect {beside}; leave it out, or choose {instead}"
                )


def was_given(config: BaseModel, source: Mapping[str, str], option: str) -> bool:
    """Whether somebody gave a value to `option`; a default in a file does not count."""
    value = getattr(config, option)
    if value is None or source.get(option) not in GIVEN:
        return False
    return source[option] == "command line" or value != type(config).model_fields[option].default
