"""Data, networks and methods that a comparison or a search is given as Python objects.

Options hold text, so that a run directory says all of it and resumes: an object gets a name there. Of data and networks
the name has a hash of what they hold, so another object is another setting. `objects.json` in the run directory
describes them, and holds a hash of each method's code.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from drkd.config import CompareConfig, TuneConfig, read_options
from drkd.data import load_data
from drkd.data.given import GivenData, give
from drkd.data.preprocessing import Preprocessing
from drkd.methods.registry import all_methods, describe_given
from drkd.models.given import name_given
from drkd.objective.objective import Objective
from drkd.utils.errors import InputError
from drkd.utils.files import read_json, write_json
from drkd.utils.objects import Objects, code_hash

FILE = "objects.json"

Config = TypeVar("Config", CompareConfig, TuneConfig)

DIGITS = "digits"
"""The data where none are named."""


@dataclass(frozen=True)
class Given:
    """What was given as objects.

    Attributes:
        options: all options, with names in place of objects.
        objects: by these names.
        described: what each is, and each method's hash.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    objects: Objects = field(default_factory=Objects)
    described: Mapping[str, str] = field(default_factory=dict)

    def check(self, out: Path) -> None:
        """Refuse to resume what was begun with other objects.

        Raises:
            InputError: that names the first.
        """
        if not (out / "config.yaml").is_file():
            return
        before = read_json(out / FILE) if (out / FILE).is_file() else {}
        names = [*before, *(name for name in self.described if name not in before)]
        if other := [name for name in names if before.get(name) != self.described.get(name)]:
            raise InputError(
                f"{out} was started with another {other[0]}: {before.get(other[0], 'none')} instead of "
                f"{self.described.get(other[0], 'none')}; pass the same again, or choose another out"
            )

    def write(self, out: Path) -> None:
        """Describe the objects in the run directory `out`."""
        if self.described and not (out / FILE).exists():
            write_json(out / FILE, dict(self.described))

    def launched(self, config: Config) -> Config:
        """`config` as trainings with these objects can run: here alone where no other process can have them."""
        if not len(self.objects) or (config.launcher == "local" and config.jobs == 1):
            return config
        try:
            self.objects.packed()
        except InputError as reason:
            warnings.warn(f"{reason}: the trainings run in this process, one after another", stacklevel=4)
            return config.model_copy(update={"launcher": "local", "jobs": 1})
        return config


def name_objects(options: Mapping[str, Any], file: str | Path | None = None) -> Given:
    """Options with names in place of objects, which are known in this process from now on.

    Args:
        options: of a comparison or a search. `data` may be whatever `drkd.as_data` takes; `model` a network, or a
            function or class that makes one; `methods` may have functions that return an objective, or be a dictionary
            of them by name.
        file: a YAML file with more of them.

    Raises:
        InputError: for objects that cannot be used.
    """
    in_file = read_options(Path(file)) if file is not None else {}
    asked = {**in_file, **{name: value for name, value in options.items() if value is not None}}
    objects = [name for name in ("data", "model") if not isinstance(asked.get(name), str | PathLike | None)]
    task = asked.get("task", "classification")
    if objects and task != "classification":
        raise InputError(
            f"{objects[0]} is a Python object, which only classification accepts; for {task} give a name or a path"
        )
    named, by_name, described = dict(options), dict[str, Any](), dict[str, str]()
    if "data" in objects:
        data = give(asked["data"])
        if not data.are_images and "model" not in objects:
            raise InputError("the data are rows, not images, and drkd has no network for them; pass one as model=")
        named["data"], by_name[data.key], described["data"] = data.key, data, data.describe()
        asked["data"] = data
    if "model" in objects:
        model = asked["model"]
        named["model"] = name = name_given(model, *_kind_of_images(asked))
        start = "with its weights, for every seed" if isinstance(model, nn.Module) else "created anew for every seed"
        by_name[name], described["model"] = model, f"{name}, {start}"
    methods = asked.get("methods")
    if methods is not None and not isinstance(methods, str):
        pairs = [
            pair for each in (methods if isinstance(methods, list | tuple) else [methods]) for pair in _pairs(each)
        ]
        named["methods"] = [name for name, _ in pairs]
        for name, function in pairs:
            if function is not None:
                by_name[name], described[f"method {name}"] = describe_given(name, function), code_hash(function)
    made = Objects(by_name)
    made.make_known()
    return Given(named, made, described)


def _kind_of_images(asked: Mapping[str, Any]) -> tuple[int, int, int]:
    """The number of classes, the side length and the channels of the data that options name or hold."""
    data = asked.get("data", DIGITS)
    if isinstance(data, GivenData):
        raw = data.read(Preprocessing(asked.get("image_size")))
        shape = raw.splits["train"][0].shape
        return len(raw.classes), int(shape[-1]), int(shape[1])
    how = {name: asked[name] for name in ("image_size", "download", "skip_bad_images") if name in asked}
    loaded = load_data(data, validation=0, **how)
    return len(loaded.classes), loaded.image_size, loaded.channels


def _pairs(method: Any) -> list[tuple[str, Callable[..., Objective] | None]]:
    """Names of methods with their functions; without one where the name says it all."""
    if isinstance(method, str):
        return [(method, None)]
    if isinstance(method, Mapping):
        return [(str(name), _as_function(function)) for name, function in method.items()]
    function = _as_function(method)
    name = str(getattr(function, "__name__", type(function).__name__))
    known = all_methods().get(name)
    return [(name, None if known is not None and known.make is function else function)]


def _as_function(method: Any) -> Callable[..., Objective]:
    if callable(method) and not isinstance(method, nn.Module):
        return method  # type: ignore[no-any-return]
    raise InputError(
        f"a method is a name, or a function that returns an objective, got {type(method).__name__}; a new objective is "
        "made for every training: give lambda: Mine(...)"
    )
