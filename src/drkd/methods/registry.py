"""Methods by name, with the arguments that each of them takes."""

import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from torch import nn

from drkd.config import METHOD_SETTINGS, TrainConfig
from drkd.methods import CLEAN_VIEW, METHODS, Teacher
from drkd.objective.objective import Objective
from drkd.targets import Ema
from drkd.utils.errors import InputError


def by_name(name: str) -> Callable[..., Objective]:
    """The method called `name`.

    Raises:
        InputError: if there is none; it names the closest one.

    Example:
        >>> by_name("dr_kd").__name__
        'dr_kd'
    """
    known = {method.__name__: method for method in METHODS}
    if ":" in name:
        raise InputError(f"{name!r}: settings in a method's name are for compare; give them as options, as --alpha 0.5")
    if name not in known:
        close = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
        raise InputError(
            f"unknown method {name!r}; {f'did you mean {close[0]}?' if close else 'see `drkd list methods`'}"
        )
    return known[name]


def read_variant(name: str) -> tuple[str, dict[str, Any]]:
    """The method and the settings that `METHOD:SETTING=VALUE:...` stands for.

    Raises:
        InputError: for a method that does not exist, and for what does not read `SETTING=VALUE`.

    Example:
        >>> read_variant("dr_kd:alpha=0.5:rectify=drop")
        ('dr_kd', {'alpha': 0.5, 'rectify': 'drop'})
    """
    method, *settings = name.split(":")
    by_name(method)
    if strange := [setting for setting in settings if not re.fullmatch(r"\w+=[\w.+-]+", setting)]:
        raise InputError(f"{name!r}: expected SETTING=VALUE, got {strange[0]!r}; write it like dr_kd:alpha=0.5")
    pairs = [setting.split("=") for setting in settings]
    return method, {key: yaml.safe_load(value) for key, value in pairs}


def accepted_by(name: str) -> list[str]:
    """The arguments of a method that go by name; those with a source also take the `decay` of a running average.

    Example:
        >>> accepted_by("tf_kd_reg")[:3], "decay" in accepted_by("online_dr_kd")
        (['correct_prob', 'alpha', 'temperature'], True)
    """
    arguments = list(inspect.signature(by_name(name)).parameters)
    return [*arguments, "decay"] if "source" in arguments else arguments


def create(
    name: str,
    settings: Mapping[str, Any],
    *,
    teacher: Teacher | None = None,
    student: nn.Module | None = None,
    epochs: int | None = None,
) -> Objective:
    """The method called `name` with `settings`, and with what else it asks for.

    Args:
        name: one of `METHODS`.
        settings: its own arguments; `source="ema"` stands for `Ema(student)`, whose `decay` may stand beside it.
        teacher, student, epochs: given to the methods that take them.

    Raises:
        InputError: for an unknown name or setting, or a missing teacher.

    Example:
        >>> create("label_smoothing", {"epsilon": 0.2}).name
        'label_smoothing'
    """
    method = by_name(name)
    accepted = accepted_by(name)
    strangers = [key for key in settings if key not in accepted]
    if strangers:
        own = [key for key in accepted if key not in ("teacher", "epochs", "options")]
        raise InputError(f"{name} takes no {strangers[0]}; it takes {', '.join(own) if own else 'no settings'}")
    arguments = {key: value for key, value in settings.items() if key != "decay"}
    if arguments.get("source") == "ema":
        if student is None:
            raise InputError(f'{name} with source="ema" needs the student that is trained')
        arguments["source"] = Ema(student, **({"decay": settings["decay"]} if "decay" in settings else {}))
    elif "decay" in settings:
        raise InputError(f"{name} has a decay with source=ema only; choose that source, or leave the decay out")
    if "teacher" in accepted:
        if teacher is None:
            raise InputError(f"{name} needs a teacher; give one with --teacher RUN_OR_FILE")
        arguments["teacher"] = teacher
    if "epochs" in accepted:
        arguments["epochs"] = epochs
    return method(**arguments)


def create_from(config: TrainConfig, *, teacher: Teacher | None, student: nn.Module) -> Objective:
    """The method that `config` names, with its settings."""
    named = {name: getattr(config, name) for name in METHOD_SETTINGS if getattr(config, name) is not None}
    settings = {**named, **config.method_options}
    return create(config.method, settings, teacher=teacher, student=student, epochs=config.epochs)


def is_clean_view(name: str) -> bool:
    """Whether the method's teacher sees un-augmented images."""
    return by_name(name) in CLEAN_VIEW
