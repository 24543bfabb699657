"""Segmentation from options to a run directory: the same commands as for classifiers."""

import itertools

import pytest

import drkd
from drkd import InputError
from drkd.cli import catalog
from drkd.config import CompareConfig, TrainConfig, resolve
from drkd.report import write_report, write_run_report
from drkd.runs import precision
from drkd.runs.building import build_student
from drkd.runs.evaluating import evaluate_run
from drkd.runs.training import train
from drkd.studies.comparison import compare
from drkd.tasks import get_task
from shapes import write_masks

QUICK = {
    "task": "segmentation",
    "model": "small_fcn",
    "epochs": 2,
    "batch_size": 4,
    "image_size": 16,
    "device": "cpu",
    "warmup_epochs": 0.0,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_masks(tmp_path_factory.mktemp("shapes") / "set", train=6, val=2, test=3))


def run(out, **options):
    return train(*resolve(TrainConfig, {**QUICK, **options}), out)


def test_a_step_is_measured_as_those_of_classifiers_are(folder, monkeypatch):
    """What `--precision auto` and the estimate of a training do."""
    config, _ = resolve(TrainConfig, {**QUICK, "data": folder, "precision": "auto"})
    data = get_task("segmentation").load(config)
    readings = itertools.accumulate(itertools.cycle([0.0, 4.0, 0.0, 1.0]))  # of float32 and of bfloat16, in turns
    monkeypatch.setattr(precision, "_clock", lambda network: lambda: next(readings))
    assert precision.ratio_of_steps(config, data, build_student(config, data)) == 0.25


def test_a_run_is_complete_and_is_evaluated_alike(folder, tmp_path):
    summary = run(tmp_path / "run", data=folder, method="dr_kd", alpha=0.5)
    files = ("config.yaml", "metrics.csv", "timing.csv", "checkpoints", "model.safetensors", "summary.json", "teacher")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {*files, "cases.png", "data.json"}
    assert (tmp_path / "run" / "cases.png").read_bytes().startswith(b"\x89PNG")
    assert all(0 < fraction < 1 for fraction in summary.rectified_fraction_per_epoch)
    assert 0 < summary.teacher_train_miou < 1
    assert 0 < summary.train_accuracy < 1
    network, info = drkd.load_model(tmp_path / "run")
    assert (info.task, info.model, info.classes) == ("segmentation", "small_fcn", ("ground", "disc", "square"))
    assert not network.training
    assert evaluate_run(tmp_path / "run", data=None, split="test", device="cpu").metrics == summary.test
    assert evaluate_run(tmp_path / "run", data=folder, split="val", device="cpu").metrics == summary.val
    said = get_task("segmentation").describe_metrics(summary.test)
    assert said.startswith("all classes: mIoU")
    assert f"disc: IoU {100 * summary.test.per_class['disc']['iou']:.2f}%" in said
    text = write_run_report(tmp_path / "run").read_text()
    assert "IoU %" in text
    assert "mIoU on the training split is" in text
    again = run(tmp_path / "taught", data=folder, method="kd", epochs=1, teacher=str(tmp_path / "run"), average="ema")
    assert again.teacher.path == str(tmp_path / "run")


def test_compare_puts_methods_side_by_side(folder, tmp_path):
    options = {**QUICK, "epochs": 1, "jobs": 1, "seeds": 1, "validation": 0, "limit_train": 4}
    done = compare(data=folder, methods=["label_smoothing", "dr_kd"], out=str(tmp_path / "run"), **options)
    assert done.results.failures == {}
    (panel,) = done.results.panels
    assert list(panel.methods) == ["cross_entropy", "cross_entropy_2x", "label_smoothing", "dr_kd"]
    assert {name: len(values) for name, values in panel.methods["dr_kd"].test.items()} == {
        "miou": 1,
        "pixel_accuracy": 1,
    }
    assert panel.methods["dr_kd"].teacher_train["miou"][0] is not None
    text = write_report(tmp_path / "run").read_text()
    assert all(words in text for words in ("mIoU %", "IoU % by class", "disc", "DR-KD"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": "digits"}, "segmentation needs a folder of images with masks"),
        ({"model": "resnet18"}, "unknown segmenter 'resnet18'; choose from small_fcn"),
        ({"label_noise": 0.2}, "takes no --label-noise"),
        ({"compile": "on"}, "takes no --compile on"),
        ({"freeze": "backbone"}, "--freeze backbone would keep random weights fixed"),
        ({"class_weights": [1.0, 2.0]}, r"--class-weights needs 3 numbers, one for each class \(ground, disc, square"),
        ({"pretrained": True}, "there are no published weights of small_fcn"),
        ({"download": True}, "takes no --download"),
        ({"augment": "cifar"}, "--augment of segmentation should be none, or scale_crop"),
        ({"method": "cs_kd"}, "needs batches with pairs"),
        ({"method": "dr_kd_clean_view"}, "cannot train with dr_kd_clean_view"),
        ({"method": "ps_kd"}, "scale_crop moves pixels; use --augment flip"),
    ],
)
def test_what_makes_no_sense_gets_one_line_and_writes_nothing(folder, tmp_path, options, words):
    with pytest.raises(InputError, match=words) as caught:
        run(tmp_path / "out", **{"data": folder, "method": "cross_entropy", **options})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_segmentation_has_defaults_and_names_of_its_own():
    found, source = resolve(CompareConfig, {"data": "x", "task": "segmentation", "lr": 0.5})
    assert (found.model, found.lr, found.augment) == ("lraspp_mobilenet_v3_large", 0.5, "scale_crop+flip")
    assert "ps_kd" not in found.methods
    assert (source["lr"], source["batch_size"]) == ("command line", "default for segmentation")
    assert set(catalog.segmenters()) >= {"small_fcn", "lraspp_mobilenet_v3_large", "fcn_resnet50"}
