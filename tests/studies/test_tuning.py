"""A search within a budget: what it proposes, what it keeps, how it resumes."""

import json
from dataclasses import asdict

import pytest

import drkd
from drkd import InputError
from drkd.runs.events import EpochDone
from drkd.runs.summary import RunSummary
from drkd.studies.tuning import TrialDone

QUICK = {"epochs": 2, "limit_train": 80, "trials": 4}


def test_the_best_trial_is_the_best_on_validation(tmp_path):
    events = []
    methods = ["label_smoothing", "dr_kd", "max_sup"]
    found = drkd.tune(methods=methods, out=str(tmp_path / "run"), **QUICK, on_trial=events.append)
    trials = found.results.trials
    assert len(trials) == 4
    finished = {trial.variant: trial.val_accuracy for trial in trials if trial.val_accuracy is not None}
    assert finished[found.best] == max(finished.values())
    assert json.loads((tmp_path / "run/tune.json").read_text()) == asdict(found.results)
    names = {"cross_entropy", *(trial.variant for trial in trials)}
    assert {event.run for event in events if isinstance(event, EpochDone)} == names
    done = {event.variant: event.val_accuracy for event in events if isinstance(event, TrialDone)}
    ended_early = dict.fromkeys(names - {"cross_entropy", *finished})
    assert done == {"cross_entropy": found.results.baseline_val_accuracy, **finished, **ended_early}
    for variant, accuracy in finished.items():
        folder = tmp_path / "run/trainings/clean-labels/seed-0" / variant.replace(":", ",")
        assert RunSummary.read(folder).val.accuracy == accuracy
        assert variant.partition(":")[0] in methods


def test_an_interrupted_search_resumes_and_more_trials_can_be_asked_for(tmp_path):
    options = {**QUICK, "methods": ["dr_kd"], "out": str(tmp_path / "run")}

    class PowerCutError(BaseException):
        pass

    def cut(event):
        if isinstance(event, EpochDone) and event.run != "cross_entropy":
            raise PowerCutError

    with pytest.raises(PowerCutError):
        drkd.tune(**options, on_trial=cut)
    (cut_off,) = (tmp_path / "run/trainings/clean-labels/seed-0").glob("dr_kd,*")
    found = drkd.tune(**options)
    assert len(found.results.trials) == 4
    assert found.results.trials[0].variant == cut_off.name.replace(",", ":")
    with pytest.raises(InputError, match="holds a finished run"):
        drkd.tune(**options)
    more = drkd.tune(**{**options, "trials": 5}, resume=True)
    assert more.results.trials[:4] == found.results.trials
    assert len(more.results.trials) == 5


def test_what_is_given_is_not_searched(tmp_path):
    found = drkd.tune(methods=["dr_kd"], alpha=0.5, out=str(tmp_path / "run"), **{**QUICK, "trials": 2})
    for trial in found.results.trials:
        assert trial.variant.startswith("dr_kd:temperature=")
    config = next((tmp_path / "run/trainings/clean-labels/seed-0").glob("dr_kd,*")) / "config.yaml"
    assert "alpha: 0.5 " in config.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 0}, "judges by the validation split"),
        ({"methods": ["cross_entropy"]}, "cross_entropy has no setting left"),
        ({"methods": ["dr_kd"], "alpha": 0.3, "temperature": 2}, "dr_kd has no setting left"),
        ({"methods": ["dr-kd"]}, "did you mean dr_kd"),
        ({"data": "nowhere"}, "no data set and no folder"),
    ],
)
def test_mistakes_leave_nothing_behind(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        drkd.tune(out=str(tmp_path / "run"), **{**QUICK, **options})
    assert not (tmp_path / "run").exists()
