"""Rows of a comparison with options of the training of their own, side by side with plain ones."""

import pytest

import drkd
from drkd import InputError
from drkd.config import CompareConfig, TrainConfig, resolve
from drkd.report.sentences import conclusions
from drkd.report.table import label_of
from drkd.runs.directory import method_dirname
from drkd.runs.training import train
from drkd.studies.comparison import OWN, plan

SMALL = {"limit_train": 60, "limit_test": 60, "epochs": 1, "seeds": 3, "jobs": 1, "label_noise": [0]}
MIXED = [f"{method}:cutmix=1" for method in ("cross_entropy", "tf_kd_self", "dr_kd")]
BALANCED = "cross_entropy:sampler=balanced"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("own") / "run"
    return drkd.compare(methods=["dr_kd", *MIXED, BALANCED], out=out, **SMALL)


def planned(tmp_path, *methods, **options):
    config = CompareConfig(methods=list(methods), seeds=1, **options)
    return [training.config for training in plan(config, methods, tmp_path)]


def test_each_is_trained_as_train_does_it_with_the_option(done, tmp_path):
    folder = done.out / "trainings" / "clean-labels" / "seed-0"
    size = {name: SMALL[name] for name in ("limit_train", "limit_test", "epochs")}
    for name, option in ((MIXED[0], {"cutmix": 1.0}), (BALANCED, {"sampler": "balanced"})):
        out = tmp_path / method_dirname(name)
        train(*resolve(TrainConfig, {"method": "cross_entropy", **size, **option}), out)
        written = [(run / "model.safetensors").read_bytes() for run in (out, folder / method_dirname(name))]
        assert written[0] == written[1]
        assert written[0] != (folder / "cross_entropy" / "model.safetensors").read_bytes()


def test_pairs_differ_in_nothing_but_what_they_name(done):
    pairs = {(row.method, row.baseline) for row in done.results.comparisons if row.metric == "accuracy"}
    against_plain = {(name, "cross_entropy") for name in ("cross_entropy_2x", "dr_kd", *MIXED, BALANCED)}
    assert pairs == against_plain | {
        ("dr_kd", "cross_entropy_2x"),
        (MIXED[1], MIXED[0]),
        (MIXED[2], MIXED[0]),
        (MIXED[2], MIXED[1]),
    }
    (panel,) = done.results.panels
    sentences = [line for line in conclusions(panel, done.results.of(panel)) if "At equal training options" in line]
    assert [line.split(":cutmix")[0].split()[-1] for line in sentences] == ["tf_kd_self", "dr_kd"]


def test_rows_are_named_by_their_options():
    names = [MIXED[2], BALANCED, "ps_kd:augment=shift+resized_crop:0.5:average=ema"]
    assert [label_of(name) for name in names] == [
        "DR-KD (cutmix=1)",
        "Cross-entropy (sampler=balanced)",
        "PS-KD, averaged (augment=shift+resized_crop:0.5)",
    ]


def test_every_option_is_typed_and_one_of_a_training(tmp_path):
    given = {"lr": 0.03, "weight_decay": 0.01, "sampler": "balanced", "augment": "shift+erasing", "mixup": 0.2}
    given |= {"cutmix": 1.0, "mix_prob": 0.25, "average": "ema:0.9", "class_weights": "balanced"}
    assert set(given) == set(OWN) - {"teacher_folds"}  # which cross-entropy does not take
    settings = ":".join(f"{name}={value}" for name, value in given.items())
    (found,) = planned(tmp_path, f"cross_entropy:{settings}")
    assert {name: getattr(found, name) for name in given} == given


def test_answers_are_kept_where_an_epoch_shows_each_sample_once(tmp_path):
    shuffled, balanced = planned(tmp_path, "dr_kd:cutmix=1", "dr_kd:sampler=balanced", cache_size="1MB")
    assert (shuffled.cache_size, balanced.cache_size, balanced.cache) == ("1MB", "0", None)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("dr_kd:cutmix=yes", "--cutmix should be a number or a name, not yes or no, got True"),
        ("dr_kd:sampler=fair", "--sampler should be 'shuffled' or 'balanced', got 'fair'"),
        ("dr_kd:mix_prob=0.3", "--mix-prob has no effect without --mixup and --cutmix"),
        ("dr_kd:augment=upside_down", "upside_down"),
        ("dlb:mixup=0.2", "takes no --mixup and --cutmix"),
        ("dr_kd:epochs=3", "dr_kd takes no epochs"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_trained(tmp_path, method, message):
    with pytest.raises(InputError, match=message):
        drkd.compare(methods=[method], out=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run" / "trainings").exists()
