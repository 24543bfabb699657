"""Comparisons and searches of Python objects: the same numbers as by name, a resume that knows them, clear refusals."""

import pickle
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

import drkd
from drkd import InputError
from drkd.config import CompareConfig, TrainConfig, read_options
from drkd.models.given import build_given, name_given
from drkd.models.mlp import mlp
from drkd.runs.building import check_fine_tuning
from drkd.runs.evaluating import evaluate_run
from drkd.studies.given import Given, name_objects
from drkd.utils import objects
from drkd.utils.files import read_json

DIGITS = drkd.load_data("digits", validation=0)
DATA = {"train": (DIGITS.train.inputs, DIGITS.train.labels), "test": (DIGITS.test.inputs, DIGITS.test.labels)}
QUICK = {"epochs": 2, "limit_train": 60, "batch_size": 30, "seeds": 2, "jobs": 1, "augment": "shift", "lr": 0.05}


def smoothed(epsilon=0.3):
    return drkd.label_smoothing(epsilon)


def taught(teacher, alpha=0.4):
    return drkd.dr_kd(teacher, alpha=alpha)


def measured(comparison, *methods):
    found = comparison.results.panels[0].methods
    return [(found[name].test, found[name].val, found[name].train_accuracy) for name in methods]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("given") / "run"
    methods = ["ps_kd", smoothed, {"mine": taught}]
    return drkd.compare(data=DATA, model=mlp, methods=methods, label_noise=0.2, out=out, **QUICK)


def test_the_numbers_are_those_of_the_same_things_by_name(done, tmp_path):
    methods = ["ps_kd", "label_smoothing:epsilon=0.3", "dr_kd:alpha=0.4"]
    settings = {**QUICK, "schedule": "step", "out": tmp_path / "run"}
    named = drkd.compare(data="digits", model="mlp", methods=methods, label_noise=0.2, **settings)
    ours = measured(done, "cross_entropy", "cross_entropy_2x", "ps_kd", "smoothed", "mine")
    assert ours == measured(named, "cross_entropy", "cross_entropy_2x", *methods)


def test_the_run_directory_says_what_was_given(done):
    options = read_options(done.out / "config.yaml")
    assert options["data"].startswith("object:tensors-")
    assert options["model"].startswith("object:Sequential-")
    assert options["methods"] == ["ps_kd", "smoothed", "mine"]
    said = read_json(done.out / "objects.json")
    assert said["data"].startswith("tensors: train 1437, test 360 images 1x8x8, 10 classes")
    assert set(said) == {"data", "model", "method smoothed", "method mine"}
    assert (done.results.panels[0].data, done.results.panels[0].model) == ("tensors", "Sequential")


def again(done, **changes):
    methods = changes.pop("methods", ["ps_kd", smoothed, {"mine": taught}])
    given = {"data": DATA, "model": mlp, "label_noise": 0.2, "out": done.out, "resume": True, **QUICK}
    return drkd.compare(methods=methods, **{**given, **changes})


def test_the_same_objects_resume(done, monkeypatch):
    monkeypatch.setattr(objects, "_known", {})
    equal = {split: (inputs.clone(), labels.tolist()) for split, (inputs, labels) in DATA.items()}
    assert again(done, data=equal).results == done.results


OTHERS = {
    r"with other settings \(data\)": {"data": {**DATA, "test": (255 - DATA["test"][0], DATA["test"][1])}},
    r"with other settings \(model\)": {
        "model": lambda num_classes: nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
    },
    r"started with another method mine": {
        "methods": ["ps_kd", smoothed, {"mine": lambda teacher: drkd.kd(teacher, 0.2)}]
    },
}


@pytest.mark.parametrize("message", OTHERS)
def test_other_objects_do_not(done, message):
    with pytest.raises(InputError, match=message):
        again(done, **OTHERS[message])


def test_trained_networks_are_found_in_this_process_and_by_giving_them_again(done, monkeypatch):
    run = done.out / "trainings" / "20%-label-noise" / "seed-1" / "mine"
    network, info = drkd.load_model(run)
    assert info.model == read_options(done.out / "config.yaml")["model"]
    data = drkd.as_data(DATA, seed=1, **{name: QUICK[name] for name in ("limit_train", "augment")})
    accuracy = done.results.panels[0].methods["mine"].test["accuracy"][1]
    assert drkd.evaluate(network, data).accuracy == accuracy
    monkeypatch.setattr(objects, "_known", {})
    with pytest.raises(InputError, match=r"was given as a Python object.*load_model\(run, model=Net\)"):
        drkd.load_model(run)
    with pytest.raises(InputError, match="does not fit its own network"):
        drkd.load_model(run, model=nn.Linear(3, 3))
    assert drkd.evaluate(drkd.load_model(run, model=mlp)[0], data).accuracy == accuracy
    with pytest.raises(InputError, match=r"the data object:tensors-\w+ were given as Python objects.*drkd.as_data"):
        drkd.export_run(run, "torch")
    drkd.as_data(DATA)
    assert Path(drkd.export_run(run, "torch").path).is_file()


def test_a_module_is_a_start_that_seeds_share_and_a_factory_is_none():
    module = mlp(10, 8, 1)

    def built(model, seed):
        torch.manual_seed(seed)
        return build_given(model, 10, 8, 1)[1].weight

    assert torch.equal(built(module, 0), built(module, 1))
    assert built(module, 0) is not module[1].weight
    assert not torch.equal(built(mlp, 0), built(mlp, 1))
    assert (
        name_given(module, 10, 8, 1) != name_given(mlp, 10, 8, 1) == name_given(lambda **shape: mlp(10, 8, 1), 10, 8, 1)
    )


def test_a_module_brings_weights_that_can_be_kept_as_they_are():
    for model, refused in ((mlp(10, 8, 1), False), (mlp, True)):
        config = TrainConfig(model=name_objects({"model": model}).options["model"], freeze="backbone")
        with pytest.raises(InputError, match="would keep random weights") if refused else nullcontext():
            check_fine_tuning(config)


def test_a_table_trains_with_a_network_of_its_own(tmp_path):
    torch.manual_seed(0)
    rows, labels = torch.randn(60, 4), torch.arange(60) % 3
    options = {"methods": ["dr_kd"], "seeds": 1, "epochs": 2, "jobs": 1, "batch_size": 20}
    done = drkd.compare(data=(rows, labels), model=lambda: nn.Linear(4, 3), out=tmp_path / "run", **options)
    assert not done.results.failures
    run = done.out / "trainings" / "clean-labels" / "seed-0" / "dr_kd"
    measured = evaluate_run(run, data=None, split="test")
    assert [measured.metrics.accuracy] == done.results.panels[0].methods["dr_kd"].test["accuracy"]
    with pytest.raises(InputError, match=r"exports take images, and object:tensors-.* holds rows of a table"):
        drkd.export_run(run, "torch")
    with pytest.raises(InputError, match="rows, not images, and drkd has no network for them; pass one as model="):
        drkd.compare(data=(rows, labels), out=tmp_path / "other", **options)


def test_a_search_takes_objects(tmp_path):
    options = {"epochs": 1, "limit_train": 60, "batch_size": 60, "trials": 1, "search": ["method"], "jobs": 1}
    found = drkd.tune(data=DATA, model=mlp, methods=[{"mine": taught}], out=tmp_path / "run", **options)
    (trial,) = found.results.trials
    assert trial.variant.startswith("mine:alpha=")
    assert trial.val_score is not None
    assert (tmp_path / "run" / "objects.json").is_file()


def test_objects_reach_other_processes_unless_they_cannot():
    given = name_objects({"data": DATA, "model": lambda: mlp(10, 8, 1), "methods": [smoothed]})
    several = CompareConfig(jobs=4, launcher="ray")
    assert given.launched(several) is several
    there = pickle.loads(pickle.dumps(given.objects))
    before, objects._known = objects._known, {}
    try:
        there.make_known()
        assert set(objects._known) == {given.options["data"], given.options["model"], "smoothed"}
        assert name_given(objects.find_object(given.options["model"]), 10, 8, 1) == given.options["model"]
    finally:
        objects._known = before
    lock = threading.Lock()
    stuck = name_objects({"model": lambda: mlp(10, 8, 1) if lock else None})
    with pytest.warns(UserWarning, match="cannot be sent to other processes .*: the trainings run in this process"):
        alone = stuck.launched(several)
    assert (alone.jobs, alone.launcher) == (1, "local")
    assert Given().launched(several) is several


REFUSED = {
    "model needs `width`, which drkd does not fill in": {"model": lambda width: mlp(10, 8, 1)},
    "must make a network, got int": {"model": lambda: 3},
    "model must be a name, a network, or what makes one, got int": {"model": 3},
    "a method's name must be a word, got '<lambda>'": {"methods": [lambda: smoothed(0.2)]},
    "dr_kd is a method of drkd; give the function another name": {"methods": {"dr_kd": smoothed}},
    "a method is a name, or a function that returns an objective, got Objective": {"methods": [smoothed()]},
    "a method is a name, or a function that returns an objective, got int": {"methods": [3]},
    "data is a Python object, which only classification accepts; for detection": {"data": DATA, "task": "detection"},
    "expected an objective such as .*, got int": {"methods": {"mine": lambda: 3}},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_used_is_refused_before_anything_is_trained(message, tmp_path):
    with pytest.raises(InputError, match=message):
        drkd.compare(**{"methods": ["ps_kd"], **REFUSED[message], **QUICK}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_functions_of_drkd_are_its_methods():
    assert name_objects({"methods": [drkd.ps_kd, "dr_kd"]}).options["methods"] == ["ps_kd", "dr_kd"]
