"""Detection from options to a run directory: the same commands as for classifiers."""

import csv
import json

import pytest

import drkd
from drkd import InputError
from drkd.config import CompareConfig, TrainConfig, resolve
from drkd.report import write_report
from drkd.runs.evaluating import evaluate_run
from drkd.runs.training import train
from drkd.studies.comparison import compare
from drkd.targets import state_hash
from drkd.tasks.detection.data import load_detection
from drkd.tasks.detection.metrics import evaluate_detector
from drkd.utils.files import read_json, write_tensors
from shapes import write_voc

QUICK = {
    "task": "detection",
    "model": "small_ssd",
    "epochs": 2,
    "batch_size": 3,
    "image_size": 64,
    "device": "cpu",
    "warmup_epochs": 0.0,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_voc(tmp_path_factory.mktemp("shapes") / "set", train=6, val=2, test=3))


def run(out, **options):
    return train(*resolve(TrainConfig, {**QUICK, **options}), out)


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "dr_kd"
    return out, run(out, data=folder, method="dr_kd", alpha=0.5)


def test_a_run_directory_is_complete(finished):
    out, summary = finished
    files = ("config.yaml", "metrics.csv", "timing.csv", "checkpoints", "model.safetensors", "summary.json", "teacher")
    assert {path.name for path in out.iterdir()} == {*files, "cases.png", "data.json"}
    with (out / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert [float(row["rectified"]) for row in rows] == summary.rectified_fraction_per_epoch
    assert all(0 < fraction <= 1 for fraction in summary.rectified_fraction_per_epoch)
    assert set(vars(summary.test)) == {"map", "map50", "ar", "per_class"}
    assert summary.teacher.path.endswith("teacher")
    assert summary.teacher_train_map50 >= 0
    assert "the epoch is chosen on 2 validation samples only: the choice is close to chance" in summary.notes
    assert "warmup_epochs: 0.0  # command line" in (out / "config.yaml").read_text()
    assert "optimizer: adamw  # default for detection" in (out / "config.yaml").read_text()


def test_the_model_file_rebuilds_the_detector(finished, folder):
    out, summary = finished
    detector, info = drkd.load_model(out)
    assert (info.task, info.model, info.classes) == ("detection", "small_ssd", ("disc", "square"))
    data = load_detection(folder, image_size=64)
    assert evaluate_detector(detector, data, "test").map == summary.test.map
    assert evaluate_run(out, data=None, split="test", device="cpu").metrics == summary.test
    assert evaluate_run(out, data=folder, split="val", device="cpu").metrics == summary.val


def test_a_run_goes_on_to_the_bit_where_it_stopped(finished, folder, tmp_path, monkeypatch):
    from drkd.runs import training as module

    out, _ = finished
    with monkeypatch.context() as patch:
        patch.setattr(module, "summarise", None)  # the first thing after a training
        with pytest.raises(TypeError):
            run(tmp_path / "part", data=folder, method="dr_kd", alpha=0.5)
    assert not (tmp_path / "part" / "summary.json").exists()
    run(tmp_path / "part", data=folder, method="dr_kd", alpha=0.5, resume=True)
    for name in ("model.safetensors", "metrics.csv", "teacher/model.safetensors"):
        assert (tmp_path / "part" / name).read_bytes() == (out / name).read_bytes(), name


def test_a_failed_drawing_costs_no_training(folder, tmp_path, monkeypatch):
    from drkd.tasks.detection import drawing

    def broken(*_):
        assert (tmp_path / "out" / "summary.json").is_file()
        raise ValueError("no ink")

    monkeypatch.setattr(drawing, "draw_cases", broken)
    with pytest.warns(UserWarning, match="test images could not be drawn in .*: ValueError: no ink"):
        run(tmp_path / "out", data=folder, method="cross_entropy", epochs=1, limit_train=3, limit_test=1, validation=0)
    assert drkd.load_model(tmp_path / "out")[1].classes == ("disc", "square")


def test_a_teacher_may_come_from_another_run(finished, folder, tmp_path):
    out, _ = finished
    summary = run(tmp_path / "taught", data=folder, method="tf_kd_self", epochs=1, teacher=str(out / "teacher"))
    assert summary.teacher.path == str(out / "teacher")
    with pytest.raises(InputError, match="they score other positions"):
        run(
            tmp_path / "other",
            data=folder,
            method="tf_kd_self",
            model="fasterrcnn_mobilenet_v3_320",
            teacher=str(out / "teacher"),
        )
    assert not (tmp_path / "other").exists()


def test_a_file_of_weights_can_teach_and_begin(finished, folder, tmp_path):
    out, _ = finished
    detector, _ = drkd.load_model(out / "teacher")
    write_tensors(tmp_path / "weights.safetensors", detector.state_dict())
    few = {"data": folder, "epochs": 1, "limit_train": 3, "limit_test": 1, "validation": 0}
    given = {"teacher": str(tmp_path / "weights.safetensors"), "weights": str(tmp_path / "weights.safetensors")}
    summary = run(tmp_path / "out", method="kd", keep_epochs=[0], **few, **given)
    assert summary.teacher.sha256 == state_hash(detector)
    assert summary.kept_epochs["0"] == summary.test
    with pytest.raises(InputError, match="has other task than digits: detection instead of classification"):
        train(*resolve(TrainConfig, {"method": "kd", "teacher": str(out)}), tmp_path / "digits")


@pytest.mark.parametrize(
    "options",
    [
        {"method": "ps_kd", "keep": "half"},
        {"method": "online_dr_kd", "source": "ema", "model": "retinanet_mobilenet_v3"},
    ],
)
def test_methods_without_a_pretrained_teacher(folder, tmp_path, options):
    summary = run(tmp_path / "out", data=folder, epochs=1, limit_train=3, limit_test=1, validation=0, **options)
    assert summary.teacher is None
    assert summary.val is None
    assert (summary.rectified_fraction_per_epoch is not None) == (options["method"] == "online_dr_kd")


def test_compare_puts_methods_side_by_side(folder, tmp_path):
    options = {**QUICK, "epochs": 1, "jobs": 1, "seeds": 2, "validation": 0}
    methods = ["label_smoothing", "dr_kd"]
    done = compare(data=folder, methods=methods, out=str(tmp_path / "run"), **options)
    assert done.results.failures == {}
    (panel,) = done.results.panels
    assert list(panel.methods) == ["cross_entropy", "cross_entropy_2x", *methods]
    for results in panel.methods.values():
        assert {name: len(values) for name, values in results.test.items()} == {"map": 2, "map50": 2, "ar": 2}
        assert len(results.details["per_class"]) == 2
    path = tmp_path / "run" / "trainings" / "clean-labels" / "seed-1" / "dr_kd"
    assert panel.methods["dr_kd"].test["map50"][1] == read_json(path / "summary.json")["test"]["map50"]
    assert panel.methods["dr_kd"].teacher_train["map50"][0] is not None
    assert {each.metric for each in done.results.comparisons} == {"map", "map50", "ar"}
    text = write_report(tmp_path / "run").read_text()
    assert all(words in text for words in ("mAP50 %", "mAP50 % by class", "disc", "DR-KD"))
    assert text.count("data:image/png;base64,") == 4
    assert "ECE %" not in text
    header = (tmp_path / "run" / "results.csv").read_text().splitlines()[0]
    assert header.startswith("panel,method,seed,map,map50,ar,rectified_fraction")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": "digits"}, "detection needs a folder of images with boxes"),
        ({"model": "resnet18"}, "unknown detector 'resnet18'; choose from small_ssd, ssdlite320"),
        ({"label_noise": 0.2}, "takes no --label-noise"),
        ({"method": "ps_kd", "augment": "ssd"}, "ps_kd remembers positions, which --augment ssd moves"),
        ({"compile": "on"}, "takes no --compile on"),
        ({"sync_batchnorm": True}, "--sync-batchnorm"),
        ({"freeze": 1}, "--freeze 1 would keep random weights fixed"),
        ({"download": True}, "takes no --download"),
        ({"augment": "cifar"}, "--augment of detection should be none, flip, ssd"),
        ({"method": "cs_kd"}, "cannot train with cs_kd"),
        ({"method": "dr_kd_clean_view"}, "cannot train with dr_kd_clean_view"),
        ({"method": "ps_kd", "model": "fasterrcnn_mobilenet_v3_320"}, "ps_kd remembers positions"),
        ({"weights": "nowhere.safetensors"}, "there is no file nowhere.safetensors"),
    ],
)
def test_what_makes_no_sense_gets_one_line_and_writes_nothing(folder, tmp_path, options, words):
    with pytest.raises(InputError, match=words) as caught:
        run(tmp_path / "out", **{"data": folder, "method": "cross_entropy", **options})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_defaults_of_detection_do_not_touch_classification():
    assert resolve(TrainConfig, {"data": "x"})[0].model == "small_cnn"
    detection, source = resolve(CompareConfig, {"data": "x", "task": "detection", "lr": 0.5})
    assert (detection.model, detection.lr, detection.batch_size) == ("ssdlite320_mobilenet_v3", 0.5, 16)
    assert (source["lr"], source["batch_size"]) == ("command line", "default for detection")


def test_the_command_line_trains_evaluates_and_reports(folder, tmp_path):
    from typer.testing import CliRunner

    from drkd.cli import inspecting, training  # noqa: F401  # each adds its commands to the app

    def drkd_(*arguments):
        result = CliRunner().invoke(training.app, [str(argument) for argument in arguments])
        assert result.exception is None, result.output
        return result.output

    flags = [part for name, value in QUICK.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    flags += ["--data", folder, "--method", "label_smoothing"]
    said = drkd_("train", *flags, "--out", tmp_path / "run")
    assert "all classes: mAP" in said
    assert "disc: mAP" in said
    assert "validation mAP" in said
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert json.loads(drkd_("evaluate", tmp_path / "run", "--json"))["map"] == summary["test"]["map"]
    assert f"mAP50 {100 * summary['test']['map50']:.2f}%" in drkd_("report", tmp_path / "run")
