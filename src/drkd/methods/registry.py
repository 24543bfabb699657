"""Every method with what the rest of the package must know of it, and how to make one by its name.

A method is a function in a module of `drkd.methods` that bears the decorator `method`. Nothing else lists it.
"""

import difflib
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import yaml
from torch import nn

from drkd.config import METHOD_SETTINGS, TrainConfig
from drkd.methods.info import MethodInfo, Range, describe
from drkd.objective.class_weights import ClassWeights
from drkd.objective.objective import Objective
from drkd.targets import Teacher
from drkd.utils.errors import InputError
from drkd.utils.objects import find_object

ORDER = ("papers", "neighbours", "clean_view")
"""The modules whose methods come first in lists, in this order; then all others, by name."""

_FOUND: dict[str, MethodInfo] = {}

Made = TypeVar("Made", bound=Callable[..., Objective])


def method(
    *,
    label: str | None = None,
    colour: str | None = None,
    self_taught: bool = False,
    doubles_batch: bool = False,
    clean_view: bool = False,
    search_space: Mapping[str, Range] | None = None,
    page: str | None = None,
) -> Callable[[Made], Made]:
    """Make the decorated function a method of the package, under its own name.

    Args:
        label, colour, doubles_batch, clean_view: see `MethodInfo`; the label is the name where none is given.
        self_taught: whether the `teacher` that the function takes is the student's own trained copy.
        search_space: adds to `SEARCH_SPACE`, or replaces a setting's range there.
        page: `docs/methods/NAME.md` where none is given.

    Raises:
        InputError: if another module has a method of that name.

    Example:
        >>> get_method("dr_kd").label, get_method("dr_kd").teacher, get_method("kd").teacher
        ('DR-KD', 'self', 'given')
    """

    def register(function: Made) -> Made:
        name = function.__name__
        known = _FOUND.get(name)
        if known is not None and known.make.__module__ != function.__module__:
            raise InputError(
                f"{function.__module__} and {known.make.__module__} both have a method {name}; rename one of them"
            )
        _FOUND[name] = replace(
            describe(name, function, self_taught=self_taught, search_space=search_space),
            label=label or name,
            colour=colour,
            doubles_batch=doubles_batch,
            clean_view=clean_view,
            page=page or f"docs/methods/{name}.md",
        )
        return function

    return register


def describe_given(name: str, function: Callable[..., Objective]) -> MethodInfo:
    """A method that is given as a Python object; a `teacher` among its arguments is the student's own trained copy.

    Raises:
        InputError: for a name that another method has, or that is no word.
    """
    known = all_methods().get(name)
    if known is not None and known.make is function:
        return known
    if known is not None:
        raise InputError(f"{name} is a method of drkd; give the function another name, as {{'my_{name}': function}}")
    if not name.isidentifier():
        raise InputError(f"a method's name must be a word, got {name!r}; give a function one as {{'mine': function}}")
    return describe(name, function, self_taught=True)


def all_methods() -> dict[str, MethodInfo]:
    """Every method by name, in the order of `drkd list methods`.

    Example:
        >>> list(all_methods())[:3]
        ['cross_entropy', 'label_smoothing', 'kd']
    """
    _import_all()

    def rank(info: MethodInfo) -> tuple[int, str]:
        module = info.make.__module__.rpartition(".")[2]
        return (ORDER.index(module), "") if module in ORDER else (len(ORDER), module)

    return {info.name: info for info in sorted(_FOUND.values(), key=rank)}


@cache
def _import_all() -> None:
    """Import every module of the package, so that all decorated functions are known."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        import_module(f"{package}.{module.name}")


def get_method(name: str) -> MethodInfo:
    """The method called `name`.

    Raises:
        InputError: if there is none; it names the closest one.

    Example:
        >>> get_method("tf_kd_reg").settings[:3]
        ('correct_prob', 'alpha', 'temperature')
    """
    if ":" in name:
        raise InputError(f"{name!r}: settings in a method's name are for compare; give them as options, as --alpha 0.5")
    given = find_object(name)
    if isinstance(given, MethodInfo):
        return given
    known = _FOUND if name in _FOUND else all_methods()
    if name not in known:
        close = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
        raise InputError(
            f"unknown method {name!r}; {f'did you mean {close[0]}?' if close else 'see `drkd list methods`'}"
        )
    return known[name]


def split_variant(name: str) -> tuple[str, list[str]]:
    """The method and each SETTING=VALUE in `METHOD:SETTING=VALUE:...`; a value may hold a colon.

    Example:
        >>> split_variant("dr_kd:average=ema:0.99:alpha=0.5")
        ('dr_kd', ['average=ema:0.99', 'alpha=0.5'])
    """
    method, *settings = name.split(":", 1)
    return method, re.split(r":(?=\w+=)", settings[0]) if settings else []


def parse_variant(name: str) -> tuple[str, dict[str, Any]]:
    """The method and the settings in `METHOD:SETTING=VALUE:...`.

    Raises:
        InputError: for an unknown method, or where SETTING=VALUE cannot be read.

    Example:
        >>> parse_variant("dr_kd:alpha=0.5:rectify=drop")
        ('dr_kd', {'alpha': 0.5, 'rectify': 'drop'})
    """
    base, settings = split_variant(name)
    get_method(base)
    allowed = r"\w+=[\w.+-]+|(average|rectify)=\w+:[\d.]+|augment=[\w.+:-]+"
    if strange := [setting for setting in settings if not re.fullmatch(allowed, setting)]:
        raise InputError(f"{name!r}: expected SETTING=VALUE, got {strange[0]!r}; write it like dr_kd:alpha=0.5")
    pairs = [setting.split("=") for setting in settings]
    return base, {key: yaml.safe_load(value) for key, value in pairs}


def create(
    name: str,
    settings: Mapping[str, Any],
    *,
    teacher: Teacher | None = None,
    student: nn.Module | None = None,
    epochs: int | None = None,
    class_weights: ClassWeights | None = None,
) -> Objective:
    """The method called `name` with `settings`, and with what else it asks for.

    Args:
        name: of a method.
        settings: its own arguments.
        teacher, student, epochs: given to the methods that take them.
        class_weights: see `Objective`.

    Raises:
        InputError: for an unknown name or setting, or a missing teacher.

    Example:
        >>> create("label_smoothing", {"epsilon": 0.2}).name
        'label_smoothing'
    """
    info = get_method(name)
    if unknown := [key for key in settings if key not in info.settings]:
        raise InputError(f"{name} takes no {unknown[0]}; it takes {', '.join(info.settings) or 'no settings'}")
    if info.teacher != "none" and teacher is None:
        raise InputError(f"{name} needs a teacher; give one with --teacher RUN_OR_FILE")
    available = {"teacher": teacher, "student": student, "epochs": epochs}
    takes = inspect.signature(info.make).parameters
    options = {} if class_weights is None else {"class_weights": class_weights}
    if options and not any(each.kind is each.VAR_KEYWORD or each.name in options for each in takes.values()):
        raise InputError(f"{name} takes no class weights; leave --class-weights out, or let it take **options")
    return info.make(**settings, **{key: value for key, value in available.items() if key in takes}, **options)


def create_from(config: TrainConfig, *, teacher: Teacher | None, student: nn.Module) -> Objective:
    """The method that a run's configuration names, with its settings there.

    Raises:
        InputError: as `create`.
    """
    return create(
        config.method,
        _given_settings(config),
        teacher=teacher,
        student=student,
        epochs=config.epochs,
        class_weights=config.class_weights,
    )


def all_settings(config: TrainConfig) -> dict[str, Any]:
    """Every setting of the method that a run's configuration names, its defaults included.

    Example:
        >>> all_settings(TrainConfig(method="tf_kd_self", alpha=0.5))
        {'alpha': 0.5, 'temperature': 1.0, 'convention': 'batchmean', 'multiplier': 1.0, 'alpha_schedule': 'constant'}
    """
    info = get_method(config.method)
    parameters = inspect.signature(info.make).parameters
    defaults = {name: parameters[name].default for name in info.settings}
    return {**defaults, **_given_settings(config)}


def _given_settings(config: TrainConfig) -> dict[str, Any]:
    named = {name: getattr(config, name) for name in METHOD_SETTINGS if getattr(config, name) is not None}
    return {**named, **config.method_options}
