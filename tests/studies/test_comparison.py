import csv
import json
import shutil
import warnings

import pytest
import torch

import drkd
from drkd import InputError
from drkd.config import CompareConfig, read_options, resolve
from drkd.report.plots import read_curves
from drkd.runs.events import EpochDone, RunDone, RunFailed
from drkd.runs.results import ComparisonResults
from drkd.runs.summary import RunSummary
from drkd.studies.comparison import plan, with_controls
from drkd.studies.statistics import paired
from drkd.targets import state_hash
from drkd.training.learning_rate import learning_rate
from drkd.utils.files import read_json, read_tensors

QUICK = {"epochs": 3, "limit_train": 100, "seeds": 2, "label_noise": [0.0, 0.2], "jobs": 1}
METHODS = ["label_smoothing", "dr_kd", "online_dr_kd"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("compare") / "run"
    return drkd.compare(methods=METHODS, out=str(out), **QUICK)


def test_baseline_and_control_are_added_where_they_belong():
    assert with_controls(CompareConfig(methods=["dr_kd"])) == ["cross_entropy", "cross_entropy_2x", "dr_kd"]
    assert with_controls(CompareConfig(methods=["cs_kd"])) == ["cross_entropy", "cross_entropy_2x", "cs_kd"]
    assert with_controls(CompareConfig(methods=["ps_kd", "ps_kd"])) == ["cross_entropy", "ps_kd"]


def test_results_have_a_number_per_seed(done):
    panels = done.results.panels
    assert [panel.name for panel in panels] == ["clean labels", "20% label noise"]
    methods = panels[0].methods
    assert list(methods) == ["cross_entropy", "cross_entropy_2x", *METHODS]
    for found in methods.values():
        assert all(len(values) == 2 for values in found.to_json().values())
        assert all(0 <= value <= 1 for name in ("accuracy", "ece", "aurc") for value in found.test[name])
    dr_kd = methods["dr_kd"]
    for mean, fractions in zip(dr_kd.rectified_fraction, dr_kd.rectified_fraction_per_epoch, strict=True):
        assert mean == pytest.approx(sum(fractions) / 3)
    assert dr_kd.teacher_seconds == methods["cross_entropy"].train_seconds
    assert all(seconds > 0 for seconds in dr_kd.seconds_per_epoch)
    assert methods["label_smoothing"].rectified_fraction == [None, None]


def test_files_say_the_same(done):
    assert read_json(done.out / "results.json") == json.loads(json.dumps(done.results.to_json()))
    assert ComparisonResults.read(done.out) == done.results
    with (done.out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 5 * 2
    first = done.results.panels[0].methods["cross_entropy"].test["accuracy"][0]
    assert float(rows[0]["accuracy"]) == first


def test_comparisons_are_paired_and_corrected_within_a_metric(done):
    methods = done.results.panels[0].methods
    tests = [test for test in done.results.comparisons if (test.panel, test.metric) == ("clean labels", "accuracy")]
    with_baseline = [(method, "cross_entropy") for method in ("cross_entropy_2x", *METHODS)]
    assert [(test.method, test.baseline) for test in tests] == [*with_baseline, ("dr_kd", "cross_entropy_2x")]
    for test in tests:
        expected = paired(methods[test.method].test["accuracy"], methods[test.baseline].test["accuracy"])
        assert test.mean_difference == expected.mean_difference
        assert (test.p_value, test.p_holm) == (None, None)  # of two seeds


def test_all_methods_of_a_seed_share_data_and_start(done):
    """A method of weight zero trains to the very weights of cross-entropy: same start, same batches."""
    again = drkd.compare(
        methods=["dr_kd"], alpha=0.0, out=str(done.out.parent / "zero"), **{**QUICK, "label_noise": [0.0]}
    )
    folder = again.out / "trainings" / "clean-labels" / "seed-1"
    ours, base = (read_tensors(folder / name / "model.safetensors") for name in ("dr_kd", "cross_entropy"))
    assert all(torch.equal(value, base[name]) for name, value in ours.items())
    assert again.results.of(again.results.panels[0])["dr_kd", "cross_entropy"].mean_difference == 0


def test_the_teacher_is_the_baseline_of_the_seed(done):
    folder = done.out / "trainings" / "20%-label-noise" / "seed-1"
    summary = RunSummary.read(folder / "dr_kd")
    teacher, _ = drkd.load_model(folder / "cross_entropy")
    assert summary.teacher.sha256 == state_hash(teacher)
    assert not (folder / "dr_kd" / "teacher").exists()


def test_processes_change_no_result(done, tmp_path):
    again = drkd.compare(methods=METHODS, out=str(tmp_path / "run"), **{**QUICK, "jobs": 2})
    for ours, theirs in zip(again.results.panels, done.results.panels, strict=True):
        for method, found in ours.methods.items():
            assert found.test == theirs.methods[method].test
            assert found.rectified_fraction_per_epoch == theirs.methods[method].rectified_fraction_per_epoch


def test_an_interrupted_comparison_resumes_where_it_stopped(done, tmp_path):
    trained = []

    def stop(event):
        if isinstance(event, RunDone):
            trained.append(event.run)
        if len(trained) == 4:
            raise KeyboardInterrupt

    options = {"methods": METHODS, "out": str(tmp_path / "run"), **QUICK}
    with pytest.raises(KeyboardInterrupt):
        drkd.compare(**options, on_event=stop)
    events = []
    again = drkd.compare(**options, on_event=events.append)
    assert set(trained) < {event.run for event in events if isinstance(event, RunDone)}
    assert not set(trained) & {event.run for event in events if isinstance(event, EpochDone)}
    first, second = (comparison.results.panels[1].methods["dr_kd"].test["nll"] for comparison in (again, done))
    assert first == second


def test_a_finished_comparison_is_refused_or_read_back(done):
    options = {"methods": METHODS, "out": str(done.out), **QUICK}
    with pytest.raises(InputError, match="holds a finished run"):
        drkd.compare(**options)
    assert drkd.compare(**options, resume=True).results == done.results


def test_a_method_that_diverges_is_null_and_named(tmp_path, monkeypatch):
    from drkd.studies import launchers

    real = launchers.run_jobs

    def with_failure(jobs, work, **options):
        outcomes = real(jobs, work, **options)
        outcomes["clean labels, seed 1, ps_kd"] = RunFailed("clean labels, seed 1, ps_kd", "step 3: boom")
        return outcomes

    monkeypatch.setattr(launchers, "run_jobs", with_failure)
    options = {"methods": ["ps_kd"], "out": str(tmp_path / "run"), **QUICK, "label_noise": [0.0]}
    results = drkd.compare(**options).results
    assert results.failures == {"clean labels, seed 1, ps_kd": "step 3: boom"}
    assert results.panels[0].methods["ps_kd"].test["accuracy"][1] is None
    assert results.comparisons[0].seeds == 1
    monkeypatch.undo()
    again = drkd.compare(**options, resume=True).results
    assert not again.failures
    assert again.comparisons[0].seeds == 2


def test_settings_reach_only_the_methods_that_take_them(tmp_path):
    config, _ = resolve(
        CompareConfig,
        {
            "methods": "ps_kd,dr_kd,tf_kd_reg",
            "temperature": 2.0,
            "warmup_epochs": 1.5,
            "method_options": {"ps_kd": {"alpha": 0.4}},
        },
    )
    configs = {t.method: t.config for t in plan(config, with_controls(config), tmp_path)}
    assert configs["dr_kd"].temperature == 2.0
    assert (configs["ps_kd"].method_options, configs["ps_kd"].temperature) == ({"alpha": 0.4}, None)
    control, plain = configs["cross_entropy_2x"], configs["cross_entropy"]
    assert (control.epochs, control.warmup_epochs) == (2 * plain.epochs, 2 * plain.warmup_epochs) != (0, 0)
    for step in (0, 3, 8, 14, 40, 100):  # the same schedule, twice as long
        rates = learning_rate(2 * step + 1, control, 10), learning_rate(step, plain, 10)
        assert rates[0] == pytest.approx(rates[1], rel=0.01)


def test_a_given_teacher_teaches_every_method_that_takes_one(tmp_path):
    names = ["cross_entropy", "tf_kd_self", "dr_kd", "kd", "dr_kd_clean_view", "kd_clean_view", "ols"]
    config, _ = resolve(CompareConfig, {"methods": names, "seeds": 2, "teacher": "mine"})
    planned = plan(config, with_controls(config), tmp_path)
    taught = {training.method: training.config.teacher for training in planned}
    assert taught == {name: None if name in ("cross_entropy", "cross_entropy_2x", "ols") else "mine" for name in taught}
    assert all(training.taught_by is None for training in planned)


def test_self_taught_methods_learn_from_a_given_teacher_as_in_train(tmp_path):
    from drkd.config import TrainConfig
    from drkd.runs.training import train

    small = {"epochs": 2, "limit_train": 60, "threads": 1}
    train(*resolve(TrainConfig, {**small, "method": "cross_entropy", "seed": 9}), tmp_path / "mine")
    options = {**small, "teacher": str(tmp_path / "mine")}
    alone = train(*resolve(TrainConfig, {**options, "method": "dr_kd"}), tmp_path / "alone")
    names = ["dr_kd", "tf_kd_self_clean_view", "dr_kd_clean_view", "kd_clean_view"]
    done = drkd.compare(methods=names, seeds=1, label_noise=0, jobs=1, out=str(tmp_path / "run"), **options)
    assert not done.results.failures
    for name in names:
        summary = RunSummary.read(tmp_path / "run/trainings/clean-labels/seed-0" / name)
        assert summary.teacher == alone.teacher
        assert done.results.panels[0].methods[name].test["accuracy"][0] is not None
    assert list(done.results.panels[0].methods) == ["cross_entropy", *names]  # and no control
    same = RunSummary.read(tmp_path / "run/trainings/clean-labels/seed-0/dr_kd")
    assert (same.test.nll, same.teacher_train_accuracy) == (alone.test.nll, alone.teacher_train_accuracy)


def test_a_null_of_a_file_reaches_every_training(tmp_path):
    (tmp_path / "c.yaml").write_text("limit_train: null\n")
    config, _ = resolve(CompareConfig, {}, tmp_path / "c.yaml")
    assert {t.config.limit_train for t in plan(config, with_controls(config), tmp_path)} == {None}


def test_a_method_can_have_a_learning_rate_of_its_own(tmp_path):
    names = ["dr_kd", "dr_kd:lr=0.03:alpha=0.5", "cross_entropy:lr=1e-2"]
    config, _ = resolve(CompareConfig, {"methods": names, "seeds": 2, "lr": 0.2, "label_noise": 0})
    planned = plan(config, with_controls(config), tmp_path)
    rates = {"cross_entropy": 0.2, "cross_entropy_2x": 0.2, "dr_kd": 0.2, names[1]: 0.03, names[2]: 0.01}
    assert [training.config.lr for training in planned] == [rates[training.method] for training in planned]
    assert len(planned) == 2 * len(rates)
    assert {training.taught_by.method for training in planned if training.taught_by} == {"cross_entropy"}


def test_a_general_decay_goes_to_running_averages_alone(tmp_path):
    names = ["online_dr_kd", "online_dr_kd:source=ema", "online_dr_kd:source=ema:decay=0.5", "ps_kd"]
    settings, _ = resolve(CompareConfig, {"methods": names, "decay": 0.9, "seeds": 1})
    decays = {training.method: training.config.decay for training in plan(settings, names, tmp_path)}
    assert [decays[name] for name in names] == [None, 0.9, 0.5, None]
    settings, _ = resolve(CompareConfig, {"methods": names, "keep": "half", "seeds": 1})
    kept = {training.method: training.config.keep for training in plan(settings, names, tmp_path)}
    assert [kept[name] for name in names] == ["half", None, None, "half"]


def test_a_method_can_be_listed_with_settings_of_its_own(tmp_path):
    names = ["dr_kd", "dr_kd:alpha=0.5:rectify=drop", "label_smoothing:epsilon=0.3", "max_sup:weight=0.4"]
    done = drkd.compare(methods=names, out=str(tmp_path / "run"), **{**QUICK, "seeds": 1, "label_noise": [0]})
    panel = done.results.panels[0]
    assert list(panel.methods) == ["cross_entropy", "cross_entropy_2x", *names]
    assert panel.costs_double == names[:2]
    assert panel.methods[names[1]].teacher_seconds == panel.methods["cross_entropy"].train_seconds
    assert panel.settings["label_smoothing:epsilon=0.3"] == {"epsilon": 0.3, "convention": "batchmean"}
    assert [panel.settings[name]["rectify"] for name in names[:2]] == ["swap", "drop"]
    assert [panel.settings[name]["alpha"] for name in names[:2]] == [0.3, 0.5]
    assert all(panel.methods[name].val["accuracy"][0] > 0 for name in names)
    folder = tmp_path / "run/trainings/clean-labels/seed-0"
    config = read_options(folder / "dr_kd,alpha=0.5,rectify=drop" / "config.yaml")
    assert (config["method"], config["alpha"], config["rectify"]) == ("dr_kd", 0.5, "drop")
    assert read_options(folder / "max_sup,weight=0.4" / "config.yaml")["method_options"] == {"weight": 0.4}
    assert set(read_curves(done.results, done.out)) == {("clean labels", name) for name in panel.methods}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["dr_kd:alpha"]}, "expected SETTING=VALUE, got 'alpha'"),
        ({"methods": ["dr_kd", "online_dr_kd"], "decay": 0.5}, "--decay 0.5 applies to none of dr_kd, online_dr_kd as"),
        ({"methods": ["online_dr_kd"], "source": "ema", "keep": "half"}, "--keep half applies to none of online_dr_kd"),
        ({"methods": ["ps_kd"], "teacher": "mine"}, "cross_entropy, ps_kd takes no teacher; leave --teacher out"),
        ({"methods": ["ps_kd"], "cache": "kept"}, "--cache has no effect with cross_entropy, ps_kd"),
        ({"methods": ["dr_kd:lr=fast"]}, "--lr should be a valid number"),
        ({"methods": ["dr_kd:alpha=2"]}, "--alpha should be less than or equal to 1, got 2"),
        ({"methods": ["ps_kd:rectify=drop"]}, "ps_kd takes no rectify"),
        ({"methods": ["dr_kd:data=elsewhere"]}, "dr_kd takes no data"),
        ({"methods": ["dr_kd:a=../x"]}, "expected SETTING=VALUE"),
        ({"methods": ["dr-kd"]}, "did you mean dr_kd"),
        ({"method_options": {"ps_kd": {"temperature": 3}}}, "ps_kd takes no temperature"),
        ({"data": "nowhere"}, "no data set or folder"),
        ({"methods": ["kd"]}, "kd needs a teacher"),
    ],
)
def test_mistakes_leave_nothing_behind(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        drkd.compare(out=str(tmp_path / "run"), **{**QUICK, **options})
    assert not (tmp_path / "run").exists()


def test_methods_that_share_a_teacher_share_its_passes(tmp_path):
    cnn = {
        "model": "small_cnn",
        "image_size": 32,
        "lr": 0.01,
        **QUICK,
        "epochs": 2,
        "limit_train": 60,
        "label_noise": [0],
    }
    done = drkd.compare(methods=["tf_kd_self", "dr_kd"], limit_test=40, out=str(tmp_path / "run"), **cnn)
    kept = sorted(path.name.split("-")[1] for path in tmp_path.glob("teacher-cache/*/epoch-*.npy"))
    assert kept == ["0", "0", "1", "1"]  # for each seed
    methods = done.results.panels[0].methods
    found = {name: methods[name].teacher_cached for name in ("cross_entropy", "tf_kd_self", "dr_kd")}
    assert found == {"cross_entropy": [None, None], "tf_kd_self": [0.0, 0.0], "dr_kd": [1.0, 1.0]}
    assert not done.results.failures


@pytest.mark.parametrize("damage", [b"epoch,val_accuracy\n0,x\n", b"\xff\xfe", b"epoch,val_accuracy\n0\n", b""])
def test_a_damaged_curve_is_left_out(done, tmp_path, damage):
    out = tmp_path / "run"
    shutil.copytree(done.out, out, symlinks=True)
    for file in out.glob("trainings/clean-labels/seed-*/cross_entropy/metrics.csv"):
        file.write_bytes(damage)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        curves = read_curves(done.results, out)
    assert len(curves) > 0
    assert ("clean labels", "cross_entropy") not in curves
    assert damage == b"" or "is damaged and left out of the curves" in str(caught[0].message)
