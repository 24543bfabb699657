"""Averaged and plain weights side by side."""

import pytest
from safetensors.torch import load_file

import drkd
from drkd import InputError
from drkd.report.table import label_of, rows, title
from drkd.runs.directory import method_dirname
from drkd.runs.summary import RunSummary

SMALL = {"limit_train": 60, "limit_test": 60, "epochs": 2, "seeds": 2, "jobs": 1, "label_noise": [0]}
AVERAGED = [f"{method}:average=ema:0.9" for method in ("cross_entropy", "tf_kd_self", "dr_kd")]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("averaged") / "run"
    return drkd.compare(methods=["tf_kd_self", *AVERAGED], out=out, **SMALL)


def test_both_are_there_and_tested_against_cross_entropy(done):
    (panel,) = done.results.panels
    assert list(panel.methods) == ["cross_entropy", "cross_entropy_2x", "tf_kd_self", *AVERAGED]
    plain, averaged = (panel.methods[name].test["nll"] for name in ("cross_entropy", AVERAGED[0]))
    assert plain != averaged
    pairs = [(row.method, row.baseline) for row in done.results.comparisons if row.metric == "accuracy"]
    assert {(name, "cross_entropy") for name in AVERAGED} < set(pairs)
    costs = {row["method"]: row["time"] for row in rows(panel, done.results.of(panel))}
    assert all(costs[label_of(name)] for name in AVERAGED)


def test_what_differs_in_the_average_too_is_not_compared_with_the_control(done):
    """Which is plain; but with cross-entropy of both kinds, and with Tf-KD_self where both are averaged."""
    theirs = {row.baseline for row in done.results.comparisons if row.method.startswith("dr_kd")}
    assert theirs == {"cross_entropy", *AVERAGED[:2]}


def test_the_plain_baseline_teaches_and_its_training_is_the_same(done):
    folder = done.out / "trainings" / "clean-labels" / "seed-0"
    plain, averaged = (folder / method_dirname(name) / "metrics.csv" for name in ("cross_entropy", AVERAGED[0]))
    losses = [[line.split(",")[:4] for line in file.read_text().splitlines()] for file in (plain, averaged)]
    assert losses[0] == losses[1]
    summaries = [RunSummary.read(folder / method_dirname(name)) for name in AVERAGED]
    teachers = [summary.teacher and summary.teacher.path for summary in summaries]
    assert teachers == [None, str(folder / "cross_entropy"), str(folder / "cross_entropy")]
    finals = [load_file(folder / method_dirname(name) / "model.safetensors") for name in ("cross_entropy", AVERAGED[0])]
    assert any(not (value == finals[1][name]).all() for name, value in finals[0].items())


def test_labels_say_it_plainly():
    assert [label_of(name) for name in ("cross_entropy:average=ema", *AVERAGED[2:], "ps_kd:average=swa")] == [
        *("Cross-entropy, averaged", "DR-KD, averaged (ema:0.9)", "PS-KD, averaged (swa)")
    ]


def test_a_general_average_is_in_the_title(tmp_path):
    done = drkd.compare(methods=["cross_entropy"], average="swa:0.5", out=tmp_path / "run", **{**SMALL, "seeds": 1})
    assert title(done.results.panels[0]).endswith("1 seed, weights averaged (swa:0.5)")
    assert done.results.read(done.out).panels[0].average == "swa:0.5"


@pytest.mark.parametrize("value", ["em", "ema:1.5", "swa:1", "median:3"])
def test_what_cannot_be_averaged_is_refused(tmp_path, value):
    with pytest.raises(InputError, match=rf"--average should be ema, ema:DECAY .*got '{value}'"):
        drkd.compare(methods=[f"cross_entropy:average={value}"], out=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()
