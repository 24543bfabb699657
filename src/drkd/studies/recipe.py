"""Recipes: a file per published row under `recipes/PAPER/DATA/NAME.yaml`, read and checked here. Loads no torch."""

import difflib
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from drkd.utils.errors import InputError

FOLDER = Path(__file__).parent / "recipes"


class Recipe(BaseModel):
    """A published row, and how to train it.

    Attributes:
        name: path of its file, `PAPER/DATA/NAME`.
        paper, table: where the row is.
        published: test accuracy, mAP or mIoU in percent as printed; None where no figure is known.
        spread: the standard deviation printed with it.
        hardware: what to expect it to take.
        command: runs it.
        baseline: the recipe that the row's gain is measured against.
        baseline_published: the accuracy printed for it in the row's own table, where that is another.
        teacher: the recipe of the network that teaches.
        teacher_epoch: the epoch (from 0) after which the teacher is taken; None for its end.
        teacher_published: the accuracy printed for that teacher.
        settings: options of `drkd train`.
        deviations: what is known to differ from the published experiment.
        miniature_size: side length of the images with `--miniature`.
        miniature_model: a smaller relative of a network that is too large for it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    paper: str
    table: str
    published: float | None = Field(ge=0, le=100)
    spread: float | None = None
    hardware: str
    command: str
    baseline: str | None = None
    baseline_published: float | None = None
    teacher: str | None = None
    teacher_epoch: int | None = None
    teacher_published: float | None = None
    settings: dict[str, Any]
    deviations: list[str] = []
    miniature_size: int = 8
    miniature_model: str | None = None


@cache
def recipe_names() -> tuple[str, ...]:
    """Every recipe's name, sorted.

    Example:
        >>> "tf_kd/cifar100/mobilenetv2-self" in recipe_names()
        True
    """
    return tuple(sorted(file.relative_to(FOLDER).with_suffix("").as_posix() for file in FOLDER.rglob("*.yaml")))


@cache
def load_recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        InputError: if there is none; it names the closest one.

    Example:
        >>> load_recipe("tf_kd/cifar100/mobilenetv2-self").published
        70.96
    """
    if not name:
        raise InputError("give the name of a recipe; see `drkd list recipes`")
    if name not in recipe_names():
        below = [other for other in recipe_names() if other.startswith(name.rstrip("/") + "/")]
        close = below or difflib.get_close_matches(name, recipe_names(), n=1)
        hint = (
            f"it is a folder of {', '.join(below)}"
            if below
            else f"did you mean {close[0]}?"
            if close
            else "see `drkd list recipes`"
        )
        raise InputError(f"there is no recipe {name!r}; {hint}")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return Recipe(name=name, **yaml.load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), Loader=loader))
