"""Options that have no effect beside others are refused, wherever somebody gave them."""

import pytest

from drkd import InputError
from drkd.config import CompareConfig, ExportConfig, TrainConfig, TuneConfig, as_yaml, resolve
from drkd.config.effects import TABLE

VALUES = {
    "momentum": 0.5,
    "milestones": [0.5],
    "gamma": 0.5,
    "mixup": 0.2,
    "cutmix": 1.0,
    "mix_prob": 0.9,
    "teacher_precision": "bfloat16",
    "cache": "kept",
    "cache_size": "2GB",
    "class_weights": "balanced",
    "sampler": "balanced",
    "calibration": "percentile",
    "calibration_samples": 64,
    "head_epochs": 2,
    "head_lr": 0.5,
    "layer_decay": 0.5,
    "fold": "2/5",
    "teacher_folds": 2,
    "teach": "foreground",
    "keep_answers": True,
    "slurm_options": "partition=gpu",
    "max_ms": 5.0,
    "max_mb": 5.0,
    "latency_threads": 2,
    "methods": ["dr_kd"],
    "round": 2,
}
"""For each option of the table one that is not its default."""

DECIDING = {
    "optimizer": ("adamw", "sgd"),
    "schedule": ("cosine", "step"),
    "task": ("detection", "classification"),
    "mixup": (0.0, 0.2),
    "cutmix": (0.0, 1.0),
    "cache_size": ("0", "1GB"),
    "sampler": ("balanced", "shuffled"),
    "quantize": (None, "int8"),
    "freeze": ("backbone", 2),
    "launcher": ("local", "slurm"),
    "networks": (None, ["mlp", "cnn"]),
    "search": (["lr"], ["lr", "method"]),
}
"""For each option that decides: a value beside which the other has no effect, and one beside which it has."""

KINDS = (TrainConfig, CompareConfig, TuneConfig, ExportConfig)


CASES = [(kind, row) for kind in KINDS for row in TABLE if {row.option, *row.causes} <= set(kind.model_fields)]


@pytest.mark.parametrize(("kind", "row"), CASES, ids=lambda each: getattr(each, "option", None) or each.__name__)
def test_each_row_of_the_table(tmp_path, kind, row):
    deciding = DECIDING if row.because == "freeze" else {**DECIDING, "freeze": (2, 2)}
    if row.option == "teach":
        deciding = {**deciding, "task": ("classification", "detection")}
    idle, effective = (
        {row.option: VALUES[row.option], **{cause: deciding[cause][which] for cause in row.causes}} for which in (0, 1)
    )
    if row.option == "cache":
        effective = {"cache_size": "1GB", **effective}
    message = rf"--{row.option.replace('_', '-')} has no effect with(out)? --.*; leave it out, or choose {row.instead}"
    with pytest.raises(InputError, match=message):
        resolve(kind, idle)
    file = tmp_path / "c.yaml"
    file.write_text("".join(f"{name}: {'null' if value is None else value}\n" for name, value in idle.items()))
    with pytest.raises(InputError, match=message):
        resolve(kind, {}, file)
    assert getattr(resolve(kind, effective)[0], row.option) == VALUES[row.option]
    others = {name: value for name, value in idle.items() if name != row.option}
    assert resolve(kind, others)[1][row.option] == "default"


@pytest.mark.parametrize("beside", [{"task": "multilabel"}, {"sampler": "balanced"}])
def test_a_cache_keeps_the_features_of_a_frozen_backbone_whatever_is_beside_it(beside):
    options = {"freeze": "backbone", "cache_size": "1GB", "cache": "kept", **beside}
    assert resolve(TrainConfig, options)[0].cache == "kept"


def test_every_row_is_tried():
    assert {row for _, row in CASES} == set(TABLE)


@pytest.mark.parametrize("given", [{"optimizer": "adamw"}, {"task": "detection"}, {"schedule": "constant"}])
def test_the_record_of_a_run_is_a_configuration(tmp_path, given):
    config, source = resolve(TrainConfig, given)
    file = tmp_path / "config.yaml"
    file.write_text(as_yaml(config, source))
    assert resolve(TrainConfig, {}, file)[0] == config
