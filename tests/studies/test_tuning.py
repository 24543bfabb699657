"""A search within a budget: what it proposes, what it keeps, how it resumes."""

import random
import shlex
from dataclasses import asdict, replace

import pytest

import drkd
from drkd import InputError
from drkd.cli.trials import advice, compare_command
from drkd.config import CompareConfig, TuneConfig, resolve
from drkd.runs.events import EpochDone
from drkd.runs.summary import RunSummary
from drkd.studies.comparison import plan, with_controls
from drkd.studies.proposals import FILE, History
from drkd.studies.tuning import BASELINE_RATES, TrialDone
from drkd.utils.files import read_json
from image_files import run_cli

TRAININGS = "run/trainings/clean-labels/seed-0"
QUICK = {"epochs": 2, "limit_train": 80, "trials": 4}


def test_the_best_trial_is_the_best_on_validation(tmp_path):
    events = []
    methods = ["label_smoothing", "dr_kd", "max_sup"]
    found = drkd.tune(methods=methods, out=str(tmp_path / "run"), **QUICK, on_trial=events.append)
    trials = found.results.trials
    assert len(trials) == 4
    finished = {trial.variant: trial.val_accuracy for trial in trials if trial.val_accuracy is not None}
    assert finished[found.best] == max(finished.values())
    assert read_json(tmp_path / "run/tune.json") == asdict(found.results)
    baselines = {f"cross_entropy:lr={rate}": accuracy for rate, accuracy in found.results.baselines.items()}
    names = {*baselines, *(trial.variant for trial in trials)}
    assert {event.run for event in events if isinstance(event, EpochDone)} == names
    done = {event.variant: event.val_accuracy for event in events if isinstance(event, TrialDone)}
    ended_early = dict.fromkeys(names - {*baselines, *finished})
    assert done == {**baselines, **finished, **ended_early}
    for variant, accuracy in finished.items():
        folder = tmp_path / TRAININGS / variant.replace(":", ",")
        assert RunSummary.read(folder).val.accuracy == accuracy
        assert variant.partition(":")[0] in methods


class PowerCutError(BaseException):
    pass


def tried(found):
    """All of the trials but how long they took."""
    return [replace(trial, seconds=0.0) for trial in found.results.trials]


def test_an_interrupted_search_gives_the_same_trials(tmp_path):
    options = {**QUICK, "epochs": 5, "trials": 7, "methods": ["dr_kd", "ps_kd"]}
    whole = drkd.tune(**options, out=str(tmp_path / "whole"))
    draw = random.Random(0)

    def cut(event):
        if draw.random() < 0.12:
            raise PowerCutError

    cuts = 0
    while True:
        try:
            found = drkd.tune(**options, out=str(tmp_path / "cut"), resume=True, on_trial=cut)
            break
        except PowerCutError:
            cuts += 1
    assert cuts >= 5
    assert tried(found) == tried(whole)
    assert found.results.baselines == whole.results.baselines
    assert len({trial.variant for trial in whole.results.trials}) == 7
    assert any(trial.val_accuracy is None for trial in whole.results.trials)


def test_trials_asked_for_later_are_those_of_one_search(tmp_path):
    options = {**QUICK, "methods": ["dr_kd"], "out": str(tmp_path / "run")}
    whole = drkd.tune(**{**options, "out": str(tmp_path / "whole")})
    for trials in (1, 2, 4):
        found = drkd.tune(**{**options, "trials": trials}, resume=True)
        assert tried(found) == tried(whole)[:trials]
    with pytest.raises(InputError, match="holds a finished run"):
        drkd.tune(**options)


def test_trials_search_the_learning_rate_and_so_does_the_baseline(tmp_path):
    found = drkd.tune(methods=["ps_kd"], lr=0.05, out=str(tmp_path / "run"), **QUICK)
    rates = [float(trial.variant.rpartition("lr=")[2]) for trial in found.results.trials]
    assert len(set(rates)) == 4
    assert all(0.05 / 5 <= rate <= 0.05 * 5 for rate in rates)
    assert list(found.results.baselines) == [f"{0.05 * factor:.3g}" for factor in BASELINE_RATES]
    assert found.results.baselines[f"{found.results.baseline_lr:.3g}"] == found.results.baseline_val_accuracy
    assert found.results.baseline_val_accuracy == max(found.results.baselines.values())
    for folder in (tmp_path / TRAININGS).iterdir():
        assert f"lr: {float(folder.name.rpartition('lr=')[2])} " in (folder / "config.yaml").read_text()


def test_the_best_baseline_teaches(tmp_path):
    found = drkd.tune(methods=["dr_kd"], out=str(tmp_path / "run"), **{**QUICK, "trials": 1})
    folder = tmp_path / TRAININGS / found.best.replace(":", ",")
    taught = RunSummary.read(folder).teacher.path
    assert taught.endswith(f"cross_entropy,lr={found.results.baseline_lr:.3g}")


def test_the_printed_command_runs_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"methods": "dr_kd", "trials": 1, "epochs": 2, "out": "my search", "cache": "its cache", "validation": 0.2}
    (tmp_path / "c.yaml").write_text("limit_train: null\nskip_bad_images: true\n")
    config, source = resolve(TuneConfig, given, tmp_path / "c.yaml")
    found = drkd.tune(config="c.yaml", **given)
    command = shlex.split(compare_command(found.results, config, source, found.out))
    assert command[:2] == ["drkd", "compare"]
    assert run_cli(*command[1:], "--seeds", "1", "--jobs", "1", "--out", "compared") == 0
    compared, _ = resolve(CompareConfig, {}, tmp_path / "compared/config.yaml")
    assert (compared.methods, compared.lr) == ([found.best], found.results.baseline_lr)
    assert (compared.limit_train, compared.skip_bad_images, compared.validation) == (None, True, 0.2)
    assert (compared.epochs, compared.cache, compared.label_noise) == (2, "its cache", [0.0])
    trained = {each.method: each.config for each in plan(compared, with_controls(compared.methods), tmp_path)}
    assert f"{trained[found.best].lr:.3g}" == found.best.rpartition("lr=")[2]
    assert trained["cross_entropy"].lr == found.results.baseline_lr


def test_a_winner_below_the_baseline_is_not_recommended(tmp_path):
    given = {"methods": ["ps_kd"], **QUICK, "trials": 1, "out": str(tmp_path / "run")}
    found = drkd.tune(**given).results
    config, source = resolve(TuneConfig, given)
    for lead, start in ((0.01, "To test it: drkd compare "), (0.0, "No trial is above"), (-0.01, "No trial is above")):
        result = replace(found, best_val_accuracy=found.baseline_val_accuracy + lead)
        assert advice(result, config, source, tmp_path).startswith(start)
    assert "differs by -1.00 points" in advice(result, config, source, tmp_path)


def test_damaged_trials_are_refused(tmp_path):
    options = {**QUICK, "trials": 1, "methods": ["ps_kd"], "out": str(tmp_path / "run")}
    drkd.tune(**options)
    file = tmp_path / "run" / FILE
    written = file.read_text()
    for damaged in (
        "",
        "{",
        "[]",
        '{"over": 3}',
        '{"over": [{}]}',
        written.replace('"method": "ps_kd"', '"method": "a"'),
    ):
        file.write_text(damaged)
        with pytest.raises(InputError, match=r"trials\.json"):
            drkd.tune(**{**options, "trials": 2}, resume=True)
    file.write_text(written)
    assert len(History.read(tmp_path / "run").over) == 1


def test_what_is_given_is_not_searched(tmp_path):
    found = drkd.tune(methods=["dr_kd"], alpha=0.5, out=str(tmp_path / "run"), **{**QUICK, "trials": 2})
    for trial in found.results.trials:
        assert trial.variant.startswith("dr_kd:temperature=")
    config = next((tmp_path / TRAININGS).glob("dr_kd,*")) / "config.yaml"
    assert "alpha: 0.5 " in config.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 0}, "judges by the validation split"),
        ({"methods": ["dr_kd", "cross_entropy"]}, "which is always trained"),
        ({"methods": ["dr-kd"]}, "did you mean dr_kd"),
        ({"data": "nowhere"}, "no data set and no folder"),
    ],
)
def test_mistakes_leave_nothing_behind(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        drkd.tune(out=str(tmp_path / "run"), **{**QUICK, **options})
    assert not (tmp_path / "run").exists()
