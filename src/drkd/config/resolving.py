"""From the command line, a file and the defaults to one configuration."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from drkd.config.effects import refuse_without_effect
from drkd.config.options import (
    BENCHED,
    DETECTION,
    EMBEDDED,
    SEGMENTATION,
    TRAINED_DETECTION,
    TUNED,
    BenchConfig,
    CompareConfig,
    TrainingConfig,
    TuneConfig,
)
from drkd.config.photos import photo_defaults
from drkd.utils.errors import InputError

Config = TypeVar("Config", bound=BaseModel)

LARGEST_FILE = 10**6
"""Bytes that a file of options may have."""


def resolve(
    kind: type[Config], given: Mapping[str, Any], file: str | Path | None = None
) -> tuple[Config, dict[str, str]]:
    """Lay the command line over a file over the defaults.

    Args:
        kind: `TrainConfig`, `CompareConfig`, `ReproduceConfig` or `BenchConfig`.
        given: options of the command line, or of a call. None means not given, or for options that may be None just
            that: it replaces a default that goes by the data.
        file: a YAML file of options, where null means the same.

    Returns:
        The configuration, and where each value came from: `default`, `default for digits`, `for detection`, `for
        trained weights` or `for photos`, `file` or `command line`.

    Raises:
        InputError: for unknown, unfitting or ineffective options; one line for the first of them.

    Example:
        >>> from drkd.config import TrainConfig
        >>> config, origins = resolve(TrainConfig, {"data": "cifar10", "epochs": 3})
        >>> config.epochs, origins["epochs"], origins["lr"]
        (3, 'command line', 'default')
    """
    in_file = read_options(Path(file)) if file is not None else {}
    on_line = {name: value for name, value in given.items() if value is not None or _may_be_none(kind, name)}
    values = {**in_file, **on_line}
    special, of_special = _special_defaults(kind, values)
    values = {**of_special, **values}
    for name in values:
        if name not in kind.model_fields:
            where = "" if name in on_line else f"{file}: "
            raise InputError(f"{where}unknown option {name!r}{did_you_mean(name, kind.model_fields)}")
    config = validated(kind, values, called=lambda name: f"{'' if name in on_line else f'{file}: '}--{_dashed(name)}")
    layers = {"command line": on_line, "file": in_file, special: of_special}
    origins = {
        name: next((where for where, layer in layers.items() if name in layer), "default") for name in kind.model_fields
    }
    refuse_without_effect(config, origins)
    return config, origins


def validated(kind: type[Config], values: Mapping[str, Any], *, called: Callable[[str], str] = str) -> Config:
    """A configuration of checked values.

    Args:
        kind: which one.
        values: by field name.
        called: how messages call a field.

    Raises:
        InputError: one line for the first unknown name or bad value.

    Example:
        >>> from drkd.config import FitSettings
        >>> validated(FitSettings, {"optimizer": "adam"})
        Traceback (most recent call last):
        ...
        drkd.utils.errors.InputError: optimizer should be 'sgd' or 'adamw', got 'adam'
    """
    for name in values:
        if name not in kind.model_fields:
            raise InputError(f"unknown option {name!r}{did_you_mean(name, kind.model_fields)}")
    try:
        return kind(**values)
    except ValidationError as reason:
        problem = reason.errors()[0]
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Value ").removeprefix("Input ")
        message = message.split(" after validation")[0]
        wanted = message if message.startswith("should ") else f"should be {message}"
        raise InputError(f"{called(str(problem['loc'][0]))} {wanted}, got {problem['input']!r}") from None


def _may_be_none(kind: type[BaseModel], name: str) -> bool:
    return name in kind.model_fields and kind.model_fields[name].default is None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint at the closest known name, for the end of a message; empty if none is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _special_defaults(kind: type[BaseModel], values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Defaults that go by the task or the data, and what they are called."""
    task = str(values.get("task"))
    of_task, name = {"detection": DETECTION, "segmentation": SEGMENTATION}.get(task), f"default for {task}"
    if task == "detection" and (values.get("weights") is not None or values.get("pretrained")):
        of_task, name = DETECTION | TRAINED_DETECTION, "default for trained detectors"
    if "task" in kind.model_fields and of_task is not None:
        of_task = of_task | (TUNED if kind is TuneConfig else BENCHED[task] if kind is BenchConfig else {})
        return name, {option: value for option, value in of_task.items() if option in kind.model_fields}
    if not issubclass(kind, TrainingConfig) or values.get("task", "classification") != "classification":
        return "default", {}
    if values.get("data", "digits") != "digits":
        return photo_defaults(values)
    return "default for digits", {
        name: value
        for name, value in EMBEDDED.items()
        if name in kind.model_fields
        and (name != "label_noise" or kind is CompareConfig)
        and (name != "model" or values.get("networks") is None)
    }


def read_options(path: Path, *, needs: Iterable[str] = ()) -> dict[str, Any]:
    """What a YAML file of options holds, by field name.

    Raises:
        InputError: if it cannot be read, is something else, or lacks one of the options in `needs`.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
        content = None if len(text) > LARGEST_FILE else yaml.safe_load(text.decode("utf-8"))
    except OSError as reason:
        raise InputError(f"cannot read the configuration {path}: {reason.strerror}") from reason
    except (yaml.YAMLError, ValueError, RecursionError) as reason:  # also of dates, and of numbers of many digits
        raise InputError(f"{path} is not YAML: {' '.join(str(reason).split())}") from reason
    if len(text) > LARGEST_FILE:  # such as /dev/zero, which has no end
        raise InputError(f"{path} is not an options file: it is larger than {LARGEST_FILE / 1e6:g} MB")
    if content is not None and not isinstance(content, dict):
        raise InputError(f"{path} needs a line `option: value` for each option, got {type(content).__name__}")
    options = {str(name).replace("-", "_"): value for name, value in (content or {}).items()}
    if missing := [name for name in needs if name not in options]:
        raise InputError(f"{path} was not written by a run: it has no {', '.join(missing)}; restore it")
    return options
