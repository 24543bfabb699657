"""A search within a budget: what it proposes, what it keeps, how it resumes."""

import random
import shlex
from dataclasses import asdict, replace

import pytest

import drkd
from drkd import InputError
from drkd.cli.trials import advice, describe_search, study_command
from drkd.config import CompareConfig, TrainConfig, TuneConfig, resolve
from drkd.runs.events import EpochDone
from drkd.runs.summary import RunSummary
from drkd.studies import searching
from drkd.studies.comparison import plan, with_controls
from drkd.studies.proposals import FILE, History
from drkd.studies.searching import TrialDone
from drkd.studies.stages import NEAR, RATES, augmentations, stages_of
from drkd.utils.files import read_json
from image_files import run_cli

TRAININGS = "run/trainings/clean-labels/seed-0"
QUICK = {"epochs": 2, "limit_train": 80, "limit_test": 80, "trials": 4, "jobs": 1}
METHODS = {**QUICK, "search": ["method"]}


def test_each_stage_takes_the_best_so_far(tmp_path):
    events = []
    methods = ["label_smoothing", "dr_kd", "max_sup"]
    found = drkd.tune(methods=methods, out=str(tmp_path / "run"), **QUICK, on_trial=events.append)
    results = found.results
    assert [trial.stage for trial in results.trials] == ["average", "augment", "method", "method"]
    reached = results.baseline_val_score
    assert reached == max(results.baselines.values()) == results.baselines[f"{results.baseline_lr:.3g}"]
    options = {}
    for trial, own in zip(results.trials, ({"average": "ema"}, {"augment": "none"}), strict=False):
        assert trial.options == {**options, **own}
        if trial.val_score > reached:
            reached, options = trial.val_score, trial.options
    assert (results.recipe_val_score, results.options) == (reached, options)
    tried = {trial.variant: trial.val_score for trial in results.trials if trial.stage == "method"}
    assert results.best_val_score == max(reached, *tried.values())
    assert results.improves == (results.best in tried)
    assert read_json(tmp_path / "run/tune.json") == asdict(results)
    baselines = {f"cross_entropy:lr={rate}": accuracy for rate, accuracy in results.baselines.items()}
    done = {event.variant: event.val_score for event in events if isinstance(event, TrialDone)}
    assert done == {**baselines, **{trial.name: trial.val_score for trial in results.trials}}
    assert {event.run for event in events if isinstance(event, EpochDone)} == set(done)
    for name, accuracy in done.items():
        summary = RunSummary.read(tmp_path / TRAININGS / name.replace(":", ","))
        assert summary.val.accuracy == accuracy
    assert RunSummary.read(tmp_path / "run" / results.best_run).test.accuracy == results.best_test_score


class PowerCutError(BaseException):
    pass


def tried(found):
    """All of the trials but how long they took."""
    return [replace(trial, seconds=0.0) for trial in found.results.trials]


def test_an_interrupted_search_gives_the_same_trials(tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "announce", lambda *_: None)  # every session would measure its steps
    options = {**QUICK, "epochs": 5, "trials": 9, "methods": ["dr_kd", "ps_kd"], "round": 3}
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
    assert len({trial.name for trial in whole.results.trials}) == 9
    assert any(trial.val_score is None for trial in whole.results.trials)


def test_trials_asked_for_later_are_those_of_one_search(tmp_path):
    options = {**QUICK, "methods": ["dr_kd"], "out": str(tmp_path / "run"), "trials": 5, "round": 2}
    whole = drkd.tune(**{**options, "out": str(tmp_path / "whole")})
    for trials in (1, 3, 5):
        found = drkd.tune(**{**options, "trials": trials}, resume=True)
        assert tried(found) == tried(whole)[:trials]
    with pytest.raises(InputError, match="holds a finished run"):
        drkd.tune(**options)


def test_a_round_does_not_depend_on_who_finishes_first(tmp_path, monkeypatch):
    """Trials that run together neither end each other nor are proposed from each other's results."""
    options = {**METHODS, "epochs": 4, "methods": ["dr_kd"], "trials": 6, "round": 4}
    forwards = drkd.tune(**options, out=str(tmp_path / "forwards"))
    launch = searching.launch
    monkeypatch.setattr(
        searching, "launch", lambda config, jobs, *rest, **how: launch(config, jobs[::-1], *rest, **how)
    )
    backwards = drkd.tune(**options, out=str(tmp_path / "backwards"))
    assert tried(backwards) == tried(forwards)


def test_no_trial_begins_after_the_time(tmp_path, monkeypatch):
    """A clock that a trial moves on by an hour."""
    now = [0.0]
    monkeypatch.setattr(searching.time, "time", lambda: now[0])

    def later(event):
        if isinstance(event, TrialDone) and event.stage == "method":
            now[0] += 3600

    options = {**METHODS, "methods": ["ps_kd"], "out": str(tmp_path / "run"), "on_trial": later, "hours": 1.5}
    first = drkd.tune(**options)
    assert len(first.results.trials) == 2
    whole = drkd.tune(**{**options, "hours": None, "out": str(tmp_path / "whole")})
    assert tried(drkd.tune(**{**options, "resume": True})) == tried(whole)


def test_methods_search_near_the_best_learning_rate(tmp_path):
    options = {**QUICK, "search": ["lr", "method"]}
    found = drkd.tune(methods=["ps_kd"], lr=0.05, out=str(tmp_path / "run"), **options).results
    assert list(found.baselines) == [f"{0.05 * factor:.3g}" for factor in RATES]
    rates = [float(trial.variant.rpartition("lr=")[2]) for trial in found.trials]
    assert len(set(rates)) == 4
    assert all(0.999 * found.baseline_lr / NEAR <= rate <= 1.001 * found.baseline_lr * NEAR for rate in rates)
    for folder in (tmp_path / TRAININGS).iterdir():
        assert f"lr: {float(folder.name.rpartition('lr=')[2])} " in (folder / "config.yaml").read_text()


def test_the_best_of_cross_entropy_teaches(tmp_path):
    found = drkd.tune(methods=["dr_kd"], out=str(tmp_path / "run"), **{**QUICK, "trials": 3}).results
    chosen = [f"{name}={value}" for name, value in found.options.items()]
    trial = found.trials[-1]
    taught = RunSummary.read(tmp_path / TRAININGS / trial.variant.replace(":", ",")).teacher.path
    assert taught.endswith(",".join([f"cross_entropy,lr={found.baseline_lr:.3g}", *chosen]))
    assert trial.options == found.options


def test_the_printed_commands_run_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"methods": "dr_kd", "trials": 3, "epochs": 2, "out": "my search", "cache": "its cache", "validation": 0.2}
    (tmp_path / "c.yaml").write_text(
        "limit_train: null\nskip_bad_images: true\nlimit_test: 50\njobs: 1\nbatch_size: 500\n"
    )
    config, source = resolve(TuneConfig, given, tmp_path / "c.yaml")
    found = drkd.tune(config="c.yaml", **given)
    found = replace(found, results=replace(found.results, options={"augment": "none", "average": "ema"}))
    command = shlex.split(study_command(found, config, source))
    assert command[:2] == ["drkd", "compare"]
    assert run_cli(*command[1:], "--seeds", "1", "--epochs", "1", "--out", "compared") == 0
    compared, _ = resolve(CompareConfig, {}, tmp_path / "compared/config.yaml")
    best = found.results.best_method.variant
    assert (compared.methods, compared.lr) == ([best], found.results.baseline_lr)
    assert (compared.limit_train, compared.skip_bad_images, compared.validation) == (None, True, 0.2)
    assert (compared.cache, compared.label_noise) == ("its cache", [0.0])
    assert (compared.augment, compared.average) == ("none", "ema")
    trained = {each.method: each.config for each in plan(compared, with_controls(compared), tmp_path)}
    assert f"{trained[best].lr:.3g}" == best.rpartition("lr=")[2]
    assert trained["cross_entropy"].lr == found.results.baseline_lr
    config = config.model_copy(update={"cache": None, "limit_train": 60, "temperature": 2.0})
    source = {**source, "cache": "default", "temperature": "command line"}
    train = shlex.split(study_command(found, config, source, command="train"))
    assert run_cli(*train[1:], "--epochs", "1", "--out", "trained") == 0
    alone, _ = resolve(TrainConfig, {}, tmp_path / "trained/config.yaml")
    assert (alone.method, alone.lr, alone.augment) == ("cross_entropy", found.results.baseline_lr, "none")


def test_a_winner_below_the_baseline_is_not_recommended(tmp_path):
    given = {"methods": ["ps_kd"], **METHODS, "trials": 1, "out": str(tmp_path / "run")}
    tuned = drkd.tune(**given)
    trial = tuned.results.trials[0]
    config, source = resolve(TuneConfig, given)
    for lead, start in (
        (0.01, "To test it: drkd compare "),
        (0.0, "No method beats"),
        (-0.01, "No method beats"),
    ):
        reached = tuned.results.recipe_val_score + lead
        best = max(reached, tuned.results.recipe_val_score)
        trials = [replace(trial, val_score=reached)]
        results = replace(tuned.results, trials=trials, best_val_score=best)
        text = advice(replace(tuned, results=results), config, source)
        assert text.startswith(start)
    assert "differs by -1.00 points" in text
    assert "Train with: drkd train --data digits --method cross_entropy --lr 0.1" in text


def test_damaged_trials_are_refused(tmp_path):
    options = {**METHODS, "trials": 1, "methods": ["ps_kd"], "out": str(tmp_path / "run")}
    drkd.tune(**options)
    file = tmp_path / "run" / FILE
    written = file.read_text()
    for damaged in (
        "",
        "{",
        "[]",
        '{"over": 3, "stages": []}',
        '{"over": [{}], "stages": []}',
        '{"over": [{"variant": "ps_kd", "accuracies": [0.5]}], "stages": []}',
        written.replace('"method": "ps_kd"', '"method": "a"'),
    ):
        file.write_text(damaged)
        with pytest.raises(InputError, match=r"trials\.json"):
            drkd.tune(**{**options, "trials": 6}, resume=True)
    file.write_text(written)
    assert len(History.read(tmp_path / "run", stages=[]).over) == 1


def test_what_is_given_is_not_searched(tmp_path):
    given = {**METHODS, "trials": 2, "methods": ["dr_kd"], "alpha": 0.5, "lr": 0.03}
    found = drkd.tune(**given, out=str(tmp_path / "run")).results
    assert list(found.baselines) == ["0.03"]
    for trial in found.trials:
        name, colon, rest = trial.variant.partition(":temperature=")
        assert (name, bool(colon), ":" in rest) == ("dr_kd", True, False)
    text = (next((tmp_path / TRAININGS).glob("dr_kd,*")) / "config.yaml").read_text()
    assert "alpha: 0.5 " in text
    assert "lr: 0.03 " in text


@pytest.mark.parametrize(
    ("given", "stages"),
    [
        ({}, ["lr", "average", "augment", "method"]),
        ({"average": "swa"}, ["lr", "augment", "method"]),
        ({"mixup": 0.2}, ["lr", "average", "method"]),
        ({"search": "method,lr"}, ["lr", "method"]),
        ({"networks": "mlp,cnn"}, ["lr", "method"]),
        ({"networks": "mlp,cnn", "search": "average"}, ["average"]),
    ],
)
def test_stages(given, stages):
    config, source = resolve(TuneConfig, given)
    assert stages_of(config, source) == stages
    said = describe_search(config, source, "out")
    assert (" 5 learning rates" in said) == ("lr" in stages)
    assert (" augmentation" in said) == ("augment" in stages)
    frozen = config.model_copy(update={"freeze": "backbone"})
    assert " augmentation" not in describe_search(frozen, source, "out")


def test_augmentations_depend_on_the_data():
    data = drkd.load_data("digits", limit_train=20)
    photos = replace(data, augmentation=drkd.data.augment.AUGMENTATIONS["crop_flip"])

    def names(seen, **given):
        return [tuple(each.items()) for each in augmentations(resolve(TuneConfig, given)[0], seen)]

    assert names(data) == [(("augment", "none"),)]
    folder = names(photos, data="photos")
    assert (("augment", "crop_flip+trivial"),) in folder
    assert (("mixup", 0.2),) in folder
    plain = replace(data, augmentation=drkd.data.augment.AUGMENTATIONS["none"])
    assert (("augment", "erasing:0.25"),) in names(plain, data="photos")
    assert names(photos, data="photos", weights="w", freeze="backbone") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 0}, "needs the validation split"),
        ({"methods": ["dr_kd", "cross_entropy"]}, "which is always trained"),
        ({"methods": ["dr-kd"]}, "did you mean dr_kd"),
        ({"data": "nowhere"}, "no data set or folder"),
        ({"search": ["average"], "average": "ema"}, "--search average has no effect with --average"),
        ({"networks": ["mlp"], "model": "cnn"}, "--model has no effect with --networks"),
        ({"freeze": "backbone"}, "would keep random weights"),
    ],
)
def test_mistakes_leave_nothing_behind(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        drkd.tune(out=str(tmp_path / "run"), **{**QUICK, **options})
    assert not (tmp_path / "run").exists()
