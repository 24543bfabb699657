"""`reproduce`: every recipe in miniature, and how its result is described."""

import csv
import json
import shutil

import pytest
import yaml

import drkd
from drkd.config import ReproduceConfig, TrainConfig, resolve
from drkd.data.layouts import find_layout
from drkd.runs.directory import kept_epoch
from drkd.runs.summary import RunSummary
from drkd.studies.deviations import PUBLISHED_SIZES, deviations, why_incomparable
from drkd.studies.recipe import load_recipe, recipe_names
from drkd.studies.reproduction import plan, reproduce
from drkd.targets import state_hash
from image_files import run_cli


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One folder for all miniatures, so that they share teachers; emptied at the end, since networks are large."""
    folder = tmp_path_factory.mktemp("reproduce")
    yield folder
    shutil.rmtree(folder)


def exercised(name):
    """What a miniature shows to run. Classifiers are trained on digits, many by the very same settings."""
    recipe = load_recipe(name)
    if "task" in recipe.settings:
        return recipe.settings["task"], recipe.teacher is not None
    method, network, augment = (recipe.settings[key] for key in ("method", "model", "augment"))
    if recipe.teacher_epoch is not None:
        return "an early teacher", ""
    return (method, network) if method == "cross_entropy" else (method, augment, recipe.settings.get("optimizer"))


CHEAP = ("mobilenetv2", "resnet18", "shufflenetv2")
"""Networks whose recipes stand for those of the same method with others."""

FIRST = {}
"""A recipe for each of these. `python benchmarks/miniatures.py` runs them all."""
for recipe_name in sorted(recipe_names(), key=lambda name: (not any(f"/{network}" in name for network in CHEAP), name)):
    FIRST.setdefault(exercised(recipe_name), recipe_name)


def test_the_other_miniatures_are_like_these(tmp_path):
    small = ReproduceConfig(miniature=True, seeds=1, out=str(tmp_path))
    trained = {name: plan(load_recipe(name), small)[-1].config for name in recipe_names()}
    for name, config in trained.items():
        other = trained[FIRST[exercised(name)]]
        differing = {k for k, v in config.model_dump().items() if v != getattr(other, k) and config.data == "digits"}
        assert differing <= {"teacher", "augment", "model", "image_size", "alpha", "temperature", "multiplier"}
        if differing & {"model", "image_size"}:
            plain = trained[FIRST["cross_entropy", load_recipe(name).settings["model"]]]
            assert (plain.model, plain.image_size) == (config.model, config.image_size)
    assert {config.augment for config in trained.values()} == {trained[name].augment for name in FIRST.values()}


@pytest.mark.parametrize("name", FIRST.values())
def test_a_miniature_of_each_kind_runs(name, runs):
    done = reproduce(name, miniature=True, seeds=1, jobs=1, out=str(runs))
    recipe = load_recipe(name)
    assert done.failures == {}
    assert [line.published for line in done.lines][-1] == recipe.published
    assert all(0 <= line.accuracies[0] <= 100 for line in done.lines)
    kept = json.loads(done.file.read_text())
    assert kept["recipe"]["published"] == recipe.published
    (step,) = [s for s in plan(recipe, ReproduceConfig(miniature=True, seeds=1, out=str(runs))) if s.role == "row"]
    with (step.out / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["loss"]) > 0
    taught_by = RunSummary.read(step.out).teacher
    assert (taught_by is not None) == (recipe.teacher is not None)
    if taught_by is not None:
        teacher, info = drkd.load_model(taught_by.path)
        assert state_hash(teacher) == taught_by.sha256
        assert info.model in (load_recipe(recipe.teacher).settings["model"], recipe.miniature_model)
    if recipe.teacher:  # nobody needs this row again
        shutil.rmtree(step.out)


def options(out, **others):
    small = {"data": "digits", "limit_train": 20, "limit_test": 20, "checkpoint_every": "1000"}
    return {"seeds": 2, "jobs": 1, **small, "out": str(out), **others}


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A chain of three networks on digits, two seeds."""
    folder = tmp_path_factory.mktemp("chain")
    location = options(folder, epochs=2, image_size=8, batch_size=10)
    return folder, location, reproduce("tf_kd/cifar10/cnn-kd-resnet18", **location)


def test_teacher_and_baseline_are_trained_first_and_all_is_measured(chain):
    folder, _, done = chain
    assert [(line.role, line.recipe) for line in done.lines] == [
        ("teacher", "tf_kd/cifar10/resnet18"),
        ("baseline", "tf_kd/cifar10/cnn"),
        ("row", "tf_kd/cifar10/cnn-kd-resnet18"),
    ]
    assert all(len(line.accuracies) == 2 for line in done.lines)
    differences = [a - b for a, b in zip(done.lines[2].accuracies, done.lines[1].accuracies, strict=True)]
    assert done.gain.mean == pytest.approx(sum(differences) / 2)
    assert done.gain.published == pytest.approx(87.67 - 87.14)
    for line in done.lines:
        (location,) = {p.parent.parent for p in folder.glob("*/seed-0/summary.json") if matches(p, line)}
        tests = [RunSummary.read(location / f"seed-{seed}").test.accuracy for seed in (0, 1)]
        assert line.accuracies == pytest.approx([100 * accuracy for accuracy in tests])


def matches(summary, line):
    config = yaml.safe_load((summary.parent / "config.yaml").read_text())
    wanted = load_recipe(line.recipe).settings
    return (config["model"], config["method"]) == (wanted["model"], wanted["method"])


def test_what_is_there_is_taken_and_not_trained_again(chain):
    folder, location, done = chain
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    again = reproduce("tf_kd/cifar10/cnn-kd-resnet18", **location)
    assert [line.accuracies for line in again.lines] == [line.accuracies for line in done.lines]
    assert [line.from_earlier_runs for line in again.lines] == [True, True, True]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == before


def test_other_settings_do_not_overwrite_a_result(chain):
    _, location, done = chain
    kept = done.file.read_bytes()
    other = reproduce("tf_kd/cifar10/cnn-kd-resnet18", **{**location, "seeds": 1, "epochs": 1})
    assert other.file != done.file
    assert done.file.read_bytes() == kept


def test_a_row_shares_its_baseline_with_other_rows(chain):
    _, location, _ = chain
    config, _ = resolve(ReproduceConfig, location)
    steps = plan(load_recipe("tf_kd/cifar10/resnet18-rekd-cnn"), config)
    assert [step.earlier for step in steps] == [True, True, False] * 2


@pytest.mark.parametrize("change", [{"epochs": 4}, {"limit_train": 30}, {"precision": "bfloat16"}])
def test_other_settings_are_other_runs(chain, change):
    _, location, _ = chain
    config, _ = resolve(ReproduceConfig, {**location, **change})
    assert not any(step.earlier for step in plan(load_recipe("tf_kd/cifar10/cnn-kd-resnet18"), config))


@pytest.mark.parametrize("change", [{"jobs": 2}, {"checkpoint_every": "7"}, {"seeds": 1}])
def test_settings_without_effect_on_the_result_are_not(chain, change):
    _, location, _ = chain
    config, _ = resolve(ReproduceConfig, {**location, **change})
    assert all(step.earlier for step in plan(load_recipe("tf_kd/cifar10/cnn-kd-resnet18"), config))


def test_a_defective_teacher_is_the_kept_epoch(tmp_path):
    location = options(tmp_path, seeds=1, epochs=2, image_size=8, batch_size=10)
    done = reproduce("tf_kd/cifar100/shufflenetv2-dekd-resnet18", **location)
    config, _ = resolve(ReproduceConfig, location)
    teacher, _, row = plan(load_recipe("tf_kd/cifar100/shufflenetv2-dekd-resnet18"), config)
    assert row.config.teacher == str(kept_epoch(teacher.out, 0))
    early, info = drkd.load_model(row.config.teacher)
    final, _ = drkd.load_model(teacher.out)
    used = RunSummary.read(row.out).teacher.sha256
    assert used == state_hash(early) != state_hash(final)
    data = drkd.load_data("digits", validation=0, limit_train=20, limit_test=20)
    assert info.model == "resnet18"
    assert done.lines[0].accuracies == pytest.approx([100 * drkd.evaluate(early, data).accuracy])
    assert done.lines[0].published == 15.48


def test_the_epoch_of_a_defective_teacher_goes_with_the_length():
    config = ReproduceConfig(epochs=20, seeds=1)
    recipe = load_recipe("tf_kd/cifar100/resnet18-dekd-resnet50")
    teacher, _, row = plan(recipe, config)
    assert teacher.config.keep_epochs == [5]
    assert row.config.teacher.endswith("epoch-5.safetensors")
    assert "teacher: taken after epoch 5 of 20 instead of 50 of 200" in deviations(recipe, row.config, config)
    published = plan(recipe, ReproduceConfig(seeds=1))
    assert published[0].config.keep_epochs == [50]
    assert published[2].config.teacher.endswith("epoch-50.safetensors")


def test_every_deviation_is_listed(chain):
    recipe = load_recipe("tf_kd/cifar10/cnn-kd-resnet18")
    _, _, done = chain
    listed = "\n".join(done.deviations)
    for words in ("data: digits instead of cifar10", "epochs: 2 instead of 200", "image-size: 8 instead of"):
        assert words in listed
    for words in ("limit-train: 20", "batch-size: 10 instead of 128", "seeds: 2 here", *recipe.deviations):
        assert words in listed
    assert "selection: the last epoch" in listed
    assert "jobs" not in listed


def test_nothing_but_what_was_asked_for_is_changed(tmp_path):
    """Digits have defaults of their own in other commands; a recipe's settings come first."""
    config = ReproduceConfig(seeds=1, data="digits", out=str(tmp_path))
    recipe = load_recipe("tf_kd/cifar100/mobilenetv2-self")
    for step in plan(recipe, config):
        wanted = {**step.recipe.settings, "data": "digits", "teacher": step.config.teacher}
        assert step.config == TrainConfig(**wanted)


def test_the_published_gain_is_that_of_the_row_s_own_table(tmp_path):
    location = options(tmp_path, seeds=1, epochs=1, image_size=8, batch_size=10)
    assert reproduce("tf_kd/cifar100/googlenet-lsr", **location).gain.published == pytest.approx(79.07 - 78.15)


def test_as_published_only_the_standing_deviations_remain():
    recipe = load_recipe("tf_kd/cifar100/mobilenetv2-self")
    config = ReproduceConfig(seeds=1)
    step = plan(recipe, config)[-1]
    assert step.config == TrainConfig(**{**recipe.settings, "teacher": step.config.teacher})
    kinds = [line.split(":")[0] for line in deviations(recipe, step.config, config)]
    assert kinds == ["seeds", "selection", "initial weights"]


def test_the_command_prints_measured_beside_published(chain, capsys):
    folder, location, done = chain
    flags = [
        text for key, value in location.items() if key != "out" for text in (f"--{key.replace('_', '-')}", str(value))
    ]
    assert run_cli("reproduce", "tf_kd/cifar10/cnn-kd-resnet18", *flags, "--out", folder) == 0
    printed = capsys.readouterr().out
    mean = sum(done.lines[2].accuracies) / 2
    assert f"{mean:.2f} ±" in printed
    for words in (f"{mean - 87.67:+.2f}", "(published", "+0.53"):  # digits are not CIFAR-10
        assert words not in printed
    for words in (
        "as published: one data-centre GPU",
        "87.67",
        "not comparable with the published figures: data: digits instead of cifar10; image-size: 8 instead of",
        "reused from earlier runs",
        "epochs: 2 instead of 200",
    ):
        assert words in printed


CIFAR10 = PUBLISHED_SIZES["cifar10"]


@pytest.mark.parametrize(
    ("given", "size", "reasons"),
    [
        ({}, CIFAR10, []),
        ({"device": "cpu", "threads": 2, "seeds": 5, "checkpoint_every": "7"}, CIFAR10, []),
        ({"data": "/data/cifar10-as-a-folder"}, CIFAR10, []),
        ({"epochs": 200, "image_size": 32}, CIFAR10, []),
        ({"data": "cats_and_dogs"}, {**CIFAR10, "classes": 2}, ["data: classes 2 instead of 10"]),
        ({}, {**CIFAR10, "train": 49_000}, ["data: train 49000 instead of 50000"]),
        ({"data": "photos"}, {**CIFAR10, "image_size": 64}, ["data: image-size 64 instead of 32"]),
        ({"epochs": 199}, CIFAR10, ["epochs: 199 instead of 200"]),
        ({"batch_size": 64}, CIFAR10, ["batch-size: 64 instead of 128"]),
        ({"limit_test": 5000}, {**CIFAR10, "test": 5000}, ["data: test 5000 instead of 10000"]),
        ({"precision": "bfloat16"}, CIFAR10, ["precision: bfloat16 instead of float32"]),
        ({"data": "digits", "epochs": 1}, {}, ["data: digits instead of cifar10", "epochs: 1 instead of 200"]),
    ],
)
def test_figures_are_comparable_only_where_nothing_that_matters_differs(given, size, reasons):
    recipe, config = load_recipe("tf_kd/cifar10/cnn-kd-resnet18"), ReproduceConfig(**{"seeds": 1, **given})
    trained = plan(recipe, config)[-1].config
    assert why_incomparable(recipe, trained, config, [CIFAR10, size]) == reasons


def test_a_miniature_shows_no_published_gain(tmp_path, capsys):
    assert run_cli("reproduce", "tf_kd/cifar100/mobilenetv2-self", "--miniature", "--out", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "gain over the baseline, paired by seed:" in printed
    assert "not comparable with the published figures: a miniature" in printed
    assert "+2.58" not in printed


def test_recipes_can_be_listed(capsys):
    assert run_cli("list", "recipes") == 0
    printed = capsys.readouterr().out
    assert f"{len(recipe_names())} recipes" in printed
    assert "70.96  tf_kd/cifar100/mobilenetv2-self" in printed
    assert run_cli("list", "recipes", "--json") == 0
    listed = json.loads(capsys.readouterr().out)["recipes"]
    assert listed["tf_kd/cifar100/mobilenetv2-self"]["published"] == 70.96
    assert listed["dr_kd/cifar10/resnet18"]["published"] is None
    assert set(listed) == set(recipe_names())


def test_imagenet_elsewhere_is_trained_at_its_own_size(tmp_path):
    """And any other folder at least at that size, not at the 64 pixels that images of mixed sizes get."""
    recipe = load_recipe("tf_kd/imagenet/resnet18-self")
    (step, *_) = plan(recipe, ReproduceConfig(seeds=1, data=str(tmp_path), out=str(tmp_path)))
    assert (step.config.data, step.config.image_size, step.config.augment) == (str(tmp_path), 224, "imagenet")
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
    (step, *_) = plan(recipe, ReproduceConfig(seeds=1, data=str(tmp_path), out=str(tmp_path)))
    assert (step.config.data, step.config.image_size) == (f"imagenet:{tmp_path}", 224)
    assert find_layout(step.config.data) == ("imagenet", tmp_path)
