"""What of a recipe is replaced here, how that differs from what was published, and whether figures may be compared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drkd.config import WITHOUT_EFFECT, ReproduceConfig, TrainConfig
from drkd.studies.recipe import Recipe, load_recipe

MINIATURE: dict[str, Any] = {
    "data": "digits",
    "limit_train": 10,
    "limit_test": 10,
    "epochs": 1,
    "batch_size": 5,
    "lr": 1e-4,
    "device": "cpu",
}
"""What `--miniature` sets: two steps on digits, or on made images, at a rate at which no setting diverges."""

ALWAYS = (
    "selection: the last epoch; the public code reports the best epoch on the test split",
    "initial weights: PyTorch's defaults by the run's seed; those of the published run are unknown",
)
"""How every reproduction here differs from what was published."""

PUBLISHED_SIZES = {
    "cifar10": {"classes": 10, "image_size": 32, "train": 50_000, "val": 0, "test": 10_000},
    "cifar100": {"classes": 100, "image_size": 32, "train": 50_000, "val": 0, "test": 10_000},
    "tiny_imagenet": {"classes": 200, "image_size": 64, "train": 100_000, "val": 0, "test": 10_000},
    "imagenet": {"classes": 1000, "image_size": 224, "train": 1_281_167, "val": 0, "test": 50_000},
}
"""What the published figures were measured on; data from a path must have the same sizes."""

MEASURED = ("data:", "image-size:", "limit-train:", "limit-test:")
"""Deviations that matter only where the sizes of the data differ, which is checked itself."""


def overrides(recipe: Recipe, config: ReproduceConfig) -> dict[str, Any]:
    """What the command line puts in place of the recipe's settings."""
    miniature: dict[str, Any] = {}
    if config.miniature:
        own = {"image_size": recipe.miniature_size, "model": recipe.miniature_model or recipe.settings["model"]}
        if "task" in recipe.settings:  # its data are embedded
            own["data"] = recipe.settings["data"]
        miniature = {**MINIATURE, **own, "checkpoint_every": "1000000000"}
    given = {name: value for name, value in config.model_dump().items() if value is not None}
    home = str(recipe.settings["data"])
    if "data" in given and home in PUBLISHED_SIZES and Path(given["data"]).is_dir():
        given.setdefault("image_size", PUBLISHED_SIZES[home]["image_size"])  # as the recipe's own data would be scaled
        if home == "imagenet" and all((Path(given["data"]) / split).is_dir() for split in ("train", "val")):
            given["data"] = f"imagenet:{given['data']}"  # the data set itself, somewhere else
    return {**miniature, **{name: value for name, value in given.items() if name in config.OF_TRAINING}}


def scaled(epoch: int, recipe: Recipe, epochs: int) -> int:
    """The epoch that is as far into a training of `epochs` as `epoch` is into the recipe's."""
    return min(round(epoch * epochs / int(recipe.settings["epochs"])), epochs - 1)


def deviations(recipe: Recipe, trained: TrainConfig, asked: ReproduceConfig) -> list[str]:
    """How a run as `trained` differs from the published experiment."""
    published, changed = TrainConfig(**recipe.settings), _changed(recipe, trained, asked)
    if recipe.teacher and recipe.teacher_epoch is not None:
        after = scaled(recipe.teacher_epoch, load_recipe(recipe.teacher), trained.epochs)
        if (after, trained.epochs) != (recipe.teacher_epoch, published.epochs):
            of_published = f"{recipe.teacher_epoch} of {published.epochs}"
            changed.append(f"teacher: taken after epoch {after} of {trained.epochs} instead of {of_published}")
    spread = "has no deviation" if recipe.spread is None else "has a deviation"
    runs = f"seeds: {asked.seeds} here; the published figure {spread}, over how many runs is not known"
    counted = [] if recipe.published is None else [runs]
    return [*changed, *counted, *recipe.deviations, *ALWAYS]


def why_incomparable(
    recipe: Recipe, trained: TrainConfig, asked: ReproduceConfig, sizes: Sequence[Mapping[str, int]]
) -> list[str]:
    """Why measured figures may not be compared with published ones; nothing where they may.

    Every option that changes the result counts, the precision too: how little it changes is not known. Data from a path
    of their own count by their sizes.

    Args:
        recipe: the row.
        trained: its configuration here.
        asked: what `reproduce` was asked for.
        sizes: `RunSummary.data_size` of every training.
    """
    changed = _changed(recipe, trained, asked)
    if any(not each.startswith(MEASURED) for each in changed):
        return changed
    other = [
        f"data: {name.replace('_', '-')} {size.get(name, 'unknown')} instead of {number}"
        for name, number in PUBLISHED_SIZES.get(recipe.settings["data"], {}).items()
        for size in sizes
        if size.get(name) != number
    ]
    return list(dict.fromkeys(other))


def _changed(recipe: Recipe, trained: TrainConfig, asked: ReproduceConfig) -> list[str]:
    """Replaced settings that change the result."""
    published = TrainConfig(**recipe.settings)
    changed = [
        f"{name.replace('_', '-')}: {getattr(trained, name)} instead of {_shown(name, getattr(published, name))}"
        for name in overrides(recipe, asked)
        if name not in (*WITHOUT_EFFECT, "device", "threads") and getattr(trained, name) != getattr(published, name)
    ]
    miniature = ["a miniature: it shows that everything works; its figures mean nothing"] if asked.miniature else []
    return [*miniature, *changed]


def _shown(name: str, value: Any) -> Any:
    if value is None:
        return "all" if name.startswith("limit_") else "the data's own"
    return value
