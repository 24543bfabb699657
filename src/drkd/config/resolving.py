"""From the command line, a file and the defaults to one configuration, and from there to a file again."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from drkd.config.effects import refuse_without_effect
from drkd.config.fields import as_bytes
from drkd.config.options import DETECTION, EMBEDDED, WITHOUT_EFFECT, CompareConfig, TrainingConfig
from drkd.utils.errors import InputError

Config = TypeVar("Config", bound=BaseModel)


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
        The configuration, and where each value came from: `default`, `default for digits` or `for detection`, `file` or
        `command line`.

    Raises:
        InputError: for unknown, unfitting or ineffective options; one line for the first of them.

    Example:
        >>> from drkd.config import TrainConfig
        >>> config, source = resolve(TrainConfig, {"data": "cifar10", "epochs": 3})
        >>> config.epochs, source["epochs"], source["lr"]
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
    source = {
        name: next((where for where, layer in layers.items() if name in layer), "default") for name in kind.model_fields
    }
    refuse_without_effect(config, source)
    return config, source


def read_record(kind: type[Config], file: Path) -> Config:
    """The configuration that a run wrote, as it is.

    Raises:
        InputError: if it cannot be read, or is something else.
    """
    return validated(
        kind, read_options(file, needs=("data", "model")), called=lambda name: f"{file}: --{_dashed(name)}"
    )


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


def as_yaml(config: BaseModel, source: Mapping[str, str]) -> str:
    """A configuration as YAML that `--config` reads back, with the source of each value beside it."""
    lines = []
    for name, value in config.model_dump().items():
        text = yaml.safe_dump({name: value}, default_flow_style=True, sort_keys=False, width=10**6).strip()
        lines.append(f"{text[1:-1]}  # {source[name]}")
    return "\n".join(lines) + "\n"


def differences(old: Mapping[str, Any], new: BaseModel) -> list[str]:
    """Options that change the result and differ between a run's `config.yaml` and `new`.

    An option that the run did not know was at its default.
    """

    def effect(name: str, value: Any) -> Any:
        """A cache of any size rounds a teacher's answers."""
        return as_bytes(str(value)) > 0 if name == "cache_size" else value

    defaults = {name: field.default for name, field in type(new).model_fields.items()}
    return [
        name
        for name, value in new.model_dump().items()
        if name not in WITHOUT_EFFECT and effect(name, old.get(name, defaults[name])) != effect(name, value)
    ]


def _special_defaults(kind: type[BaseModel], values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Defaults that go by the task or the data, and what they are called."""
    if "task" in kind.model_fields and values.get("task") == "detection":
        return "default for detection", DETECTION
    if not (issubclass(kind, TrainingConfig) and values.get("data", "digits") == "digits"):
        return "default for digits", {}
    return "default for digits", {
        name: value
        for name, value in EMBEDDED.items()
        if name in kind.model_fields and (name != "label_noise" or kind is CompareConfig)
    }


def read_options(path: Path, *, needs: Iterable[str] = ()) -> dict[str, Any]:
    """What a YAML file of options holds, by field name.

    Raises:
        InputError: if it cannot be read, is something else, or lacks one of the options in `needs`.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as reason:
        raise InputError(f"cannot read the configuration {path}: {reason.strerror}") from reason
    except (yaml.YAMLError, ValueError, RecursionError) as reason:  # also of dates, and of numbers of many digits
        raise InputError(f"{path} is not YAML: {' '.join(str(reason).split())}") from reason
    if content is not None and not isinstance(content, dict):
        raise InputError(f"{path} needs a line `option: value` for each option, got {type(content).__name__}")
    options = {str(name).replace("-", "_"): value for name, value in (content or {}).items()}
    if missing := [name for name in needs if name not in options]:
        raise InputError(f"{path} is not what a run writes, it has no {', '.join(missing)}; restore it")
    return options
