"""A comparison whose seeds train together has the files and the figures of one whose seeds do not."""

import csv
import json

import pytest
import torch

import drkd
from drkd import grouping
from drkd.comparison import plan, with_controls
from drkd.config import CompareConfig, TrainConfig, resolve
from drkd.grouping import into_groups, network_obstacle, settings_obstacle
from drkd.stats import paired
from drkd.storage import read_tensors

QUICK = {"epochs": 3, "limit_train": 120, "seeds": 3, "label_noise": [0.2]}
QUICK |= {"jobs": 1, "threads": 1, "checkpoint_every": "epoch"}
METHODS = ["dr_kd", "ps_kd", "ols"]


def compared(out, together="on", methods=METHODS, progress=lambda *_: None, **options):
    chosen = {**QUICK, "methods": methods, "together": together, "out": str(out), "resume": True, **options}
    return drkd.compare(progress=progress, **chosen)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grouping")
    return {together: compared(folder / together, together) for together in ("on", "off")}


def summaries(comparison, method):
    files = sorted((comparison.out / "trainings").glob(f"*/seed-*/{method}/summary.json"))
    return [json.loads(file.read_text()) for file in files]


def test_the_figures_are_those_of_seeds_trained_one_by_one(done):
    on, off = (done[together].results["panels"][0]["methods"] for together in ("on", "off"))
    assert list(on) == list(off) == ["cross_entropy", "cross_entropy_2x", *METHODS]
    for method, lists in off.items():
        for metric in ("accuracy", "nll", "ece", "aurc", "rectified_fraction", "teacher_train_accuracy"):
            expected = lists[metric] if None in lists[metric] else pytest.approx(lists[metric], rel=1e-3, abs=1e-5)
            assert on[method][metric] == expected, (method, metric)
    first = done["on"].results["comparisons"][0]
    test = paired(on[first["method"]]["accuracy"], on["cross_entropy"]["accuracy"])
    assert first["mean_difference"] == test.mean_difference


def test_every_training_has_its_own_files(done):
    for together in ("on", "off"):
        for folder in (done[together].out / "trainings").glob("*/seed-*/dr_kd"):
            names = {path.name for path in folder.iterdir()}
            assert {"config.yaml", "metrics.csv", "timing.csv", "model.safetensors", "summary.json"} <= names
    metrics = "trainings/20%-label-noise/seed-1/dr_kd/metrics.csv"
    with (done["on"].out / metrics).open() as ours, (done["off"].out / metrics).open() as theirs:
        for row, expected in zip(csv.DictReader(ours), csv.DictReader(theirs), strict=True):
            numbers = {name: float(value) for name, value in expected.items()}
            assert {k: float(v) for k, v in row.items()} == pytest.approx(numbers, rel=1e-4, abs=1e-6)
    assert not list((done["on"].out / "trainings").glob("*/together*"))


def test_the_summary_says_how_many_trained_together(done):
    assert [s["together"] for s in summaries(done["on"], "dr_kd")] == [3, 3, 3]
    assert [s["together"] for s in summaries(done["off"], "dr_kd")] == [1, 1, 1]
    ours, theirs = summaries(done["on"], "dr_kd")[2], summaries(done["off"], "dr_kd")[2]
    assert list(ours) == list(theirs)
    assert ours["teacher"]["path"].endswith("seed-2/cross_entropy")
    assert ours["effective_weights"] == theirs["effective_weights"]


def test_what_cannot_train_together_is_told(done):
    notes = ["the seeds are trained one by one: ols has targets that seeds cannot share"]
    assert [s["notes"] for s in summaries(done["on"], "ols")] == [notes] * 3
    assert [s["together"] for s in summaries(done["on"], "ols")] == [1, 1, 1]
    assert summaries(done["off"], "ols")[0]["notes"] == []
    assert done["on"].results["panels"][0]["methods"]["ols"]["notes"] == [notes] * 3


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"clip_norm": 1.0}, "--clip-norm"),
        ({"compile": "on"}, "--compile"),
        ({"memory_format": "channels_last"}, "--memory-format"),
        ({"precision": "float16"}, "--precision"),
        ({"method": "cs_kd"}, "cs_kd has targets"),
        ({"method": "dlb"}, "dlb has targets"),
        ({"method": "dr_kd_clean_view"}, "dr_kd_clean_view has targets"),
    ],
)
def test_settings_that_keep_seeds_apart(settings, reason):
    plain = {"model": "mlp", "method": "cross_entropy", "device": "cpu"}
    assert settings_obstacle(TrainConfig(**plain)) is None
    assert reason in settings_obstacle(TrainConfig(**{**plain, **settings}))


@pytest.mark.parametrize(("model", "gains"), [("mlp", True), ("small_cnn", False), ("resnet18", False)])
def test_auto_takes_networks_that_gain_by_it(model, gains):
    config = TrainConfig(model=model, method="cross_entropy", device="cpu")
    expected = None if gains else "the network is too large to gain by it"
    assert network_obstacle(config, only_where_it_pays=True) == expected
    assert network_obstacle(config, only_where_it_pays=False) is None


def test_a_network_with_dropout_is_trained_one_by_one(monkeypatch):
    layers = [torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.Dropout(0.5)]
    monkeypatch.setattr(grouping, "build", lambda *_: torch.nn.Sequential(*layers))
    config = TrainConfig(method="cross_entropy", device="cpu")
    reason = "the network draws random numbers, as dropout does"
    assert network_obstacle(config, only_where_it_pays=True) == reason


@pytest.mark.parametrize(("together", "sizes"), [("on", {3}), ("auto", {3}), ("off", {1})])
def test_seeds_of_a_method_make_a_group(tmp_path, together, sizes):
    config, _ = resolve(CompareConfig, {"methods": "dr_kd", "seeds": 3, "together": together, "device": "cpu"})
    groups = into_groups(config, plan(config, with_controls(config.methods), tmp_path))
    assert {len(group.trainings) for group in groups} == sizes
    assert sum(len(group.trainings) for group in groups) == 2 * 3 * 3  # panels, methods, seeds
    assert len({group.name for group in groups}) == len(groups)


def test_a_teacher_from_elsewhere_serves_all_seeds_as_it_is(done, tmp_path):
    teacher = done["off"].out / "trainings" / "20%-label-noise" / "seed-0" / "cross_entropy"
    options = {"methods": ["kd"], "teacher": str(teacher), "seeds": 2}
    on, off = (compared(tmp_path / together, together, **options) for together in ("on", "off"))
    assert [s["together"] for s in summaries(on, "kd")] == [2, 2]
    ours, theirs = (run.results["panels"][0]["methods"]["kd"] for run in (on, off))
    assert ours["nll"] == pytest.approx(theirs["nll"], rel=1e-3)
    assert ours["teacher_train_accuracy"] == theirs["teacher_train_accuracy"]


def test_finished_seeds_are_not_trained_again(done, tmp_path, monkeypatch):
    partial = compared(tmp_path / "run", methods=["ps_kd"])
    folders = [partial.out / "trainings" / "20%-label-noise" / f"seed-{seed}" / "ps_kd" for seed in range(3)]
    before = (folders[1] / "summary.json").stat().st_mtime_ns
    for gone in (partial.out / "results.json", *(folder / "summary.json" for folder in folders[::2])):
        gone.unlink()
    seeds = []
    real = grouping.fit_together
    monkeypatch.setattr(grouping, "fit_together", lambda *a, **k: seeds.append(k["seeds"]) or real(*a, **k))
    again = compared(tmp_path / "run", methods=["ps_kd"])
    assert seeds == [[0, 2]]
    assert (folders[1] / "summary.json").stat().st_mtime_ns == before
    assert [s["together"] for s in summaries(again, "ps_kd")] == [2, 3, 2]
    expected = done["on"].results["panels"][0]["methods"]["ps_kd"]["nll"]
    assert again.results["panels"][0]["methods"]["ps_kd"]["nll"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("method", "epoch"), [("ps_kd", 1), ("dr_kd", 2)])
def test_a_killed_group_goes_on_where_it_was_to_the_bit(done, tmp_path, method, epoch):
    def kill(name, said):
        if name.endswith(f"seed 1, {method}") and said.get("epoch") == epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compared(tmp_path / "run", methods=[method], progress=kill)
    group = tmp_path / "run" / "trainings" / "20%-label-noise" / f"together-{method}"
    assert (group / "checkpoints" / "last").exists()
    resumed = compared(tmp_path / "run", methods=[method])
    for ours in (resumed.out / "trainings").glob("*/seed-*/*"):
        theirs = done["on"].out / ours.relative_to(resumed.out)
        assert (ours / "metrics.csv").read_bytes() == (theirs / "metrics.csv").read_bytes()
        expected = read_tensors(theirs / "model.safetensors")
        assert all(torch.equal(v, expected[k]) for k, v in read_tensors(ours / "model.safetensors").items())


def test_a_group_killed_while_it_is_measured_keeps_what_is_measured(done, tmp_path, monkeypatch):
    real = grouping.finish

    def kill(config, *rest):
        if (config.method, config.seed) == ("ps_kd", 1):
            raise KeyboardInterrupt
        real(config, *rest)

    monkeypatch.setattr(grouping, "finish", kill)
    with pytest.raises(KeyboardInterrupt):
        compared(tmp_path / "run", methods=["ps_kd"])
    monkeypatch.undo()
    resumed = compared(tmp_path / "run", methods=["ps_kd"])
    expected = done["on"].results["panels"][0]["methods"]["ps_kd"]["nll"]
    assert resumed.results["panels"][0]["methods"]["ps_kd"]["nll"] == expected


def test_a_lane_that_diverges_takes_no_other_with_it(done, tmp_path, monkeypatch):
    from drkd import run

    real = run.build

    def build(config, data):
        network = real(config, data)
        if (config.method, config.seed) == ("cross_entropy", 1):
            network[1].weight.data.fill_(1e38)
        return network

    monkeypatch.setattr(run, "build", build)
    heard = []
    result = compared(tmp_path / "run", methods=["dr_kd"], progress=lambda name, said: heard.append(name))
    panel = "20% label noise, seed 1"
    assert set(result.failures) == {f"{panel}, {name}" for name in ("cross_entropy", "cross_entropy_2x", "dr_kd")}
    assert "NaN or infinite" in result.failures[f"{panel}, cross_entropy"]
    assert result.failures[f"{panel}, dr_kd"] == f"{panel}, cross_entropy failed, which it needs"
    assert [s["together"] for s in summaries(result, "cross_entropy")] == [1, 1]
    assert "one by one: together, step 0" in summaries(result, "cross_entropy")[0]["notes"][0]
    assert [s["together"] for s in summaries(result, "dr_kd")] == [2, 2]  # the other two still train together
    ours, theirs = (r.results["panels"][0]["methods"]["dr_kd"]["nll"] for r in (result, done["on"]))
    assert ours[1] is None
    assert [ours[0], ours[2]] == pytest.approx([theirs[0], theirs[2]], rel=1e-3)
    assert set(heard) == {f"20% label noise, seed {s}, {m}" for s in range(3) for m in with_controls(["dr_kd"])}
