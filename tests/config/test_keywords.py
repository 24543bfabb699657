"""The keyword arguments that type checkers know are the options of the configurations."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

import drkd
from drkd.config import CompareConfig, FitSettings, ReproduceConfig, TrainingConfig, TuneConfig, groups, keywords
from drkd.config.fields import Text

PAIRS = {
    keywords.DataKeywords: groups.DataOptions,
    keywords.FitOptionsKeywords: groups.FitOptions,
    keywords.FitKeywords: FitSettings,
    keywords.MethodKeywords: groups.MethodSettings,
    keywords.TrainingKeywords: TrainingConfig,
    keywords.LauncherKeywords: groups.LauncherOptions,
    keywords.CompareKeywords: CompareConfig,
    keywords.TuneKeywords: TuneConfig,
    keywords.ReproduceKeywords: ReproduceConfig,
}

OR_ALONE = {"methods": str, "networks": str, "label_noise": float}
"""Lists of a comparison that may also be given as a single item."""

MAKER = Callable[..., Any]
OR_OBJECTS = {
    "data": {Any},
    "model": {MAKER},
    "methods": {Sequence[str | MAKER | Mapping[str, MAKER]], Mapping[str, MAKER], MAKER},
}
"""What may also be a Python object, but for `reproduce`."""


def alternatives(hint):
    """The parts of a union; each value of a literal is one."""
    if get_origin(hint) in (Union, UnionType):
        return set().union(*map(alternatives, get_args(hint)))
    return {Literal[value] for value in get_args(hint)} if get_origin(hint) is Literal else {hint}


def readable(hint):
    """What may be given in place of a list or a dictionary that is only read."""
    kind = {list: Sequence, dict: Mapping}.get(get_origin(hint))
    return hint if kind is None else kind[tuple(map(readable, get_args(hint)))]


def accepted(config, name):
    """What Python callers may give for an option, as alternatives."""
    found = {readable(hint) for hint in alternatives(get_type_hints(config)[name])}
    annotated = get_type_hints(config, include_extras=True)[name]
    if annotated == Text or Text in get_args(annotated):
        found.add(int if name == "checkpoint_every" else PathLike[str])
    if name in OR_ALONE and Sequence[OR_ALONE[name]] in found:
        found.add(OR_ALONE[name])
    return found if config is ReproduceConfig else found | OR_OBJECTS.get(name, set())


@pytest.mark.parametrize(("typed", "config"), PAIRS.items(), ids=lambda each: each.__name__)
def test_keywords_are_the_options_of_the_configuration(typed, config):
    hints = get_type_hints(typed)
    assert set(hints) == set(config.model_fields)
    assert {name: alternatives(hint) for name, hint in hints.items()} == {
        name: accepted(config, name) for name in config.model_fields
    }
    assert not typed.__required_keys__


def test_every_class_of_keywords_is_compared():
    known = {value for value in vars(keywords).values() if hasattr(value, "__required_keys__")}
    assert known == set(PAIRS)


CALLS = """
from pathlib import Path
import drkd

student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
data = drkd.load_data("digits")
drkd.fit(student, drkd.cross_entropy(), data, epochs=3, out=Path("run"), milestones=(0.5, 0.75), checkpoint_every=9)
drkd.fit(student, drkd.cross_entropy(), data, epoch=3)  # wrong
drkd.fit(student, drkd.cross_entropy(), data, optimizer="adam")  # wrong
drkd.compare(methods="dr_kd,ps_kd", seeds=3, label_noise=0.2, cache=Path("cache"))
drkd.compare(seedz=3)  # wrong
drkd.compare(data=data, model=student, methods=[lambda: drkd.cross_entropy(), "ps_kd", {"mine": drkd.ps_kd}], seeds=3)
drkd.compare(methods=3)  # wrong
drkd.tune(methods=["dr_kd"], trials=3)
drkd.tune(seeds=3)  # wrong
drkd.reproduce("dr_kd/cifar10/resnet18", miniature=True, out=Path("runs"))
drkd.reproduce("dr_kd/cifar10/resnet18", lr=0.1)  # wrong
"""

SETTINGS = """
[mypy]
follow_imports = skip
[mypy-drkd.*]
follow_imports = silent
"""


def test_type_checkers_refuse_wrong_keywords_and_no_others(tmp_path):
    """Libraries are not followed: mypy would take a minute to read torch."""
    (tmp_path / "calls.py").write_text(CALLS)
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", "cache", "calls.py"]
    environment = {**os.environ, "MYPYPATH": str(Path(drkd.__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    refused = {int(number) for number in re.findall(r"^calls\.py:(\d+): error", done.stdout, re.MULTILINE)}
    wrong = {number for number, line in enumerate(CALLS.splitlines(), 1) if line.endswith("# wrong")}
    assert refused == wrong, done.stdout + done.stderr
