"""The recipe files: what they say against the papers' figures, and against what the package can run."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from drkd.config import ScheduleOptions, TrainConfig
from drkd.data import shapes
from drkd.data.augment import AUGMENTATIONS
from drkd.data.datasets import DATASETS
from drkd.methods.registry import create_from, get_method
from drkd.models import MODELS
from drkd.studies.recipe import load_recipe, recipe_names
from drkd.tasks.detection.networks import DETECTORS
from drkd.tasks.segmentation.networks import SEGMENTERS
from drkd.training.learning_rate import learning_rate
from drkd.utils.errors import InputError
from oracles.published import DEFECTIVE, PUBLISHED, SELF, SPREAD

NAMES = recipe_names()


def test_there_is_a_recipe_for_every_published_figure_and_no_figure_without_a_source():
    published = {name: load_recipe(name).published for name in NAMES if load_recipe(name).published is not None}
    assert published == PUBLISHED


def test_the_page_counts_them():
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    assert f"There are {len(NAMES)} recipes, {len(PUBLISHED)} of them with a published figure." in page


def test_a_folder_of_recipes_is_listed():
    with pytest.raises(InputError, match="it is a folder of tf_kd/cifar10/cnn, tf_kd/cifar10/cnn-kd-resnet18"):
        load_recipe("tf_kd/cifar10/")


def test_spreads_are_those_that_were_printed():
    found = {name.split("/")[2]: load_recipe(name).spread for name in NAMES if load_recipe(name).spread is not None}
    assert found == SPREAD


@pytest.mark.parametrize("data", ["cifar10", "cifar100", "tiny_imagenet"])
def test_dr_kd_has_a_row_for_each_of_its_networks(data):
    rows = {name.split("/")[2] for name in NAMES if name.startswith(f"dr_kd/{data}/") and "baseline" not in name}
    assert rows == {*SELF, "resnet50", "alexnet"}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_can_be_run(name):
    recipe = load_recipe(name)
    config = TrainConfig(**recipe.settings)
    assert recipe.command == f"drkd reproduce {name}"
    assert recipe.hardware
    assert recipe.table
    assert recipe.paper.endswith("2201.11319" if name.startswith("dr_kd/") else "1909.11723")
    assert config.data == name.split("/")[1]
    if config.data == shapes.NAME:
        assert config.model in {"detection": DETECTORS, "segmentation": SEGMENTERS}[config.task]
    else:
        assert config.data in DATASETS
        assert config.augment in AUGMENTATIONS
        assert config.model in MODELS or config.model.startswith("timm:")
    assert config.validation == 0
    needs_teacher = get_method(config.method).teacher != "none"
    assert needs_teacher == (recipe.teacher is not None)
    for other in {recipe.teacher, recipe.baseline} - {None}:
        assert load_recipe(other).teacher is None
        assert load_recipe(other).settings["method"] == "cross_entropy"
        assert load_recipe(other).settings["data"] == config.data
    if recipe.baseline:
        assert load_recipe(recipe.baseline).settings["model"] == config.model
    if get_method(config.method).teacher == "self":
        assert recipe.teacher == recipe.baseline
    if recipe.published is None:
        assert name.startswith("dr_kd/")
    losses = create_from(config, teacher=lambda inputs: inputs, student=nn.Identity())(
        torch.randn(3, 4), torch.tensor([0, 1, 3]), inputs=torch.randn(3, 4), index=torch.arange(3)
    )
    assert torch.isfinite(losses["loss"])


@pytest.mark.parametrize("name", [name for name in NAMES if "/shapes/" not in name and "/imagenet/" not in name])
def test_the_schedule_is_the_public_code_s(name):
    """200 epochs, warm-up over the first, times 0.2 at 60, 120 and 160; the rate goes with the batch size."""
    settings = load_recipe(name).settings
    rate = {"cnn": 0.001, "alexnet": 0.01 * settings["batch_size"] / 128}.get(
        settings["model"], 0.1 * settings["batch_size"] / 128
    )
    keys = ("lr", "epochs", "schedule", "milestones", "gamma", "warmup_epochs")
    schedule = ScheduleOptions(**{key: settings[key] for key in keys})
    steps = 391
    at = {epoch: learning_rate(epoch * steps, schedule, steps) for epoch in (1, 59, 60, 120, 160, 199)}
    expected = {1: 1, 59: 1, 60: 0.2, 120: 0.04, 160: 0.008, 199: 0.008}
    assert at == pytest.approx({epoch: rate * factor for epoch, factor in expected.items()}, rel=1e-2)
    assert learning_rate(0, schedule, steps) == pytest.approx(rate / steps, rel=1e-2)
    if settings["optimizer"] == "sgd":
        assert (settings["momentum"], settings["weight_decay"]) == (0.9, 5e-4)


def test_imagenet_s_schedule_is_the_public_code_s():
    """90 epochs, times 0.1 at 30, 60 and 80."""
    settings = load_recipe("tf_kd/imagenet/resnet18").settings
    keys = ("lr", "epochs", "schedule", "milestones", "gamma")
    schedule = ScheduleOptions(**{key: settings[key] for key in keys})
    at = [learning_rate(epoch, schedule, steps_per_epoch=1) for epoch in (0, 29, 30, 59, 60, 79, 80, 89)]
    assert at == pytest.approx([0.2, 0.2, 0.02, 0.02, 0.002, 0.002, 0.0002, 0.0002])


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("-self") or name.startswith("dr_kd/")])
def test_self_taught_rows_have_the_public_settings(name):
    settings = load_recipe(name).settings
    network = re.sub("-.*", "", name.split("/")[2])
    if network not in SELF or "baseline" in name or settings["data"] == "imagenet":
        return
    alpha, temperature, multiplier = SELF[network]
    assert settings["convention"] == "reference"
    assert (settings["alpha"], settings["temperature"], settings.get("multiplier", 1)) == (
        *(alpha, temperature, multiplier),
    )


@pytest.mark.parametrize("name", [name for name in NAMES if "-dekd-" in name])
def test_defective_teachers_are_taken_after_the_published_epoch(name):
    recipe = load_recipe(name)
    network = name.rpartition("-")[2]
    assert (recipe.teacher_epoch, recipe.teacher_published) == DEFECTIVE[network]
    assert recipe.teacher_epoch in load_recipe(recipe.teacher).settings["keep_epochs"]


def test_an_unknown_recipe_names_the_closest():
    with pytest.raises(InputError, match="did you mean tf_kd/cifar100/resnet18-self"):
        load_recipe("tf_kd/cifar100/resnet18-slef")
    with pytest.raises(InputError, match="drkd list recipes"):
        load_recipe("x")
