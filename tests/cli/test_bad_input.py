"""Whatever is wrong with what the command line gets: exit code 2, one line that says what to do, nothing on disk."""

import pickle
import re
import shutil

import pytest
import torch
from safetensors.torch import save_file

from bad_options import OPTIONS, TRAIN
from drkd.data import datasets
from image_files import ROWS, encoded, noise, run_cli, write_set
from spoiling import Code, about, content, cut, edited, folder, last_byte, metadata, nothing, parquet, remove, saved

PETS = (*TRAIN, "--data", "pets", "--image-size", "8", "--model", "mlp")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on digits, for others to spoil."""
    out = tmp_path_factory.mktemp("bad") / "run"
    assert run_cli(*TRAIN, "--method", "cross_entropy", "--out", out) == 0
    return out


@pytest.fixture
def here(tmp_path, monkeypatch, trained):
    """A folder with a run, a sound data set and an image."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "run", symlinks=True)
    write_set(tmp_path / "pets")
    noise(0).save(tmp_path / "image.png")
    datasets._read.cache_clear()
    return tmp_path


TABLE = (*TRAIN, "--data", "table", "--image-size", "8", "--model", "mlp")
TAUGHT = (*TRAIN, "--method", "kd", "--teacher")
CASES = {
    **OPTIONS,
    # models and teachers
    "no run": (nothing, ("evaluate", "nowhere"), "there is no file nowhere; give a run directory"),
    "no split": (nothing, ("evaluate", "run", "--split", "dev"), "--split should be train, val or test, got 'dev'"),
    "a folder that is no run": (nothing, ("evaluate", "pets"), "there is no file pets/model.safetensors; give a run"),
    "an unfinished run": (
        remove("run/model.safetensors"),
        ("evaluate", "run"),
        "run holds an unfinished run; .*--out run",
    ),
    "other classes": (nothing, ("evaluate", "run", "--data", "pets"), "pets has other classes than the network in run"),
    "truncated model": (
        cut("run/model.safetensors", 1000),
        ("evaluate", "run"),
        "cannot read weights from run/model.safetensors",
    ),
    "empty model": (
        content("run/model.safetensors", b""),
        ("predict", "run", "image.png"),
        "cannot read weights from run/model.safetensors",
    ),
    "model of another network": (
        about(model="small_cnn"),
        ("evaluate", "run"),
        "does not fit its own network small_cnn",
    ),
    "model of no network": (about(model="nonsense"), ("evaluate", "run"), "unknown .*'nonsense'"),
    "model without classes": (about(classes=None), ("evaluate", "run"), "needs to say its classes as list, got None"),
    "model of other classes": (about(classes=["a", "b"]), ("evaluate", "run"), "does not fit its own network mlp"),
    "model with classes of no type": (about(classes=3), ("evaluate", "run"), "needs to say its classes as list, got 3"),
    "model without a mean": (
        about(mean=None),
        ("predict", "run", "image.png"),
        "needs to say the mean of its 1 chan",
    ),
    "model with a broken word on itself": (
        metadata("{"),
        ("evaluate", "run"),
        "has a damaged network description",
    ),
    "model that says a list": (metadata("[]"), ("evaluate", "run"), "does not say which network it is; give a run dir"),
    "damaged record beside a model": (
        content("run/config.yaml", b"a: ["),
        ("evaluate", "run"),
        "run/config.yaml is not YAML",
    ),
    "strange record beside a model": (
        content("run/config.yaml", b"data: digits\nmodel: mlp\nepochs: x"),
        ("evaluate", "run"),
        "run/config.yaml: --epochs should be a valid integer.*got 'x'",
    ),
    "model with other weights": (
        lambda here: (here / "run/model.safetensors").write_bytes(
            (here / "run/model.safetensors").read_bytes()[:-1] + b"!"
        ),
        ("evaluate", "run"),
        "run/model.safetensors is damaged: its content is not what was written; copy it again",
    ),
    "teacher with a flipped bit": (
        last_byte("run/model.safetensors"),
        (*TAUGHT, "run/model.safetensors"),
        "run/model.safetensors is damaged: its content is not what was written",
    ),
    "teacher's run with a flipped bit": (
        last_byte("run/model.safetensors"),
        (*TAUGHT, "run"),
        "run/model.safetensors is damaged: its content is not what was written",
    ),
    "first weights with a flipped bit": (
        last_byte("run/model.safetensors"),
        (*TRAIN, "--model", "mlp", "--weights", "run/model.safetensors"),
        "run/model.safetensors is damaged: its content is not what was written",
    ),
    "edited summary": (
        edited("run/summary.json", '"accuracy": 0.', '"accuracy": 0.9'),
        ("report", "run"),
        "run/summary.json was changed: its content is not what drkd wrote",
    ),
    "edited summary, shared": (
        edited("run/summary.json", '"accuracy": 0.', '"accuracy": 0.9'),
        ("push", "run"),
        "run/summary.json was changed: its content is not what drkd wrote",
    ),
    "comments alone as the record of a run": (
        content("run/config.yaml", b"# data: digits"),
        ("evaluate", "run"),
        "run/config.yaml was not written by a run: it has no data, model; restore it",
    ),
    "comments alone as the record of a shared run": (
        content("run/config.yaml", b"# data: digits"),
        ("push", "run"),
        "run/config.yaml was not written by a run: it has no data; restore it",
    ),
    "weights without a network": (
        lambda here: save_file({"a": torch.ones(1)}, here / "w.safetensors"),
        ("evaluate", "w.safetensors"),
        "w.safetensors does not say which network it is; give a run directory",
    ),
    "no teacher": (nothing, (*TRAIN, "--method", "kd"), "kd needs a teacher; .*--teacher"),
    "missing teacher": (nothing, (*TAUGHT, "nowhere"), "there is no file nowhere; give a run directory"),
    "unwanted teacher": (
        nothing,
        (*TRAIN, "--method", "ols", "--teacher", "run"),
        "ols takes no teacher; leave --teacher",
    ),
    "teacher with code": (saved(Code()), (*TAUGHT, "teacher.pt"), "teacher.pt holds more than tensors.*could run code"),
    "pickle with code": (
        lambda here: (here / "teacher.pt").write_bytes(pickle.dumps(Code())),
        (*TAUGHT, "teacher.pt"),
        "teacher.pt holds more than tensors.*could run code",
    ),
    "teacher that is no network": (
        saved([1, 2]),
        (*TAUGHT, "teacher.pt"),
        "teacher.pt needs to be a dictionary of tens",
    ),
    "teacher of another network": (
        saved({"a": torch.ones(1)}),
        (*TAUGHT, "teacher.pt"),
        "the weights in teacher.pt do not fit the model: ",
    ),
    "damaged teacher": (
        content("teacher.pt", b"PK\x03\x04"),
        (*TAUGHT, "teacher.pt"),
        "cannot read weights from teacher",
    ),
    "teacher that is an image": (
        nothing,
        (*TAUGHT, "image.png"),
        "cannot read weights from image.png|image.png holds more than tensors",
    ),
    "teacher of other classes": (
        nothing,
        (*TRAIN, "--data", "pets", "--method", "kd", "--teacher", "run"),
        "the teacher in run has other classes than pets",
    ),
    "weights with code": (saved(Code()), (*TRAIN, "--weights", "teacher.pt"), "teacher.pt holds more than tensors"),
    # images and data
    "no image": (nothing, ("predict", "run", "none.png"), "there is no image none.png"),
    "no images": (folder("empty"), ("predict", "run", "empty"), r"the folder empty holds no images \(.bmp"),
    "no format": (
        nothing,
        ("predict", "run", "image.png", "--format", "xml"),
        "--format should be csv, json or coco, got",
    ),
    "text as an image": (
        content("a.png", b"text"),
        ("predict", "run", "a.png"),
        "a.png cannot be read as an image: it is not an image, or its header is damaged",
    ),
    "empty image": (
        content("pets/train/cat/bad.png", b""),
        PETS,
        "pets/train/cat/bad.png cannot be read as an image: it is empty; remove .*--skip-bad-images.*`drkd check pet",
    ),
    "truncated image": (
        content("pets/val/cat/bad.png", encoded(noise(0, (64, 64)))[:3000]),
        ("compare", *PETS[1:], "--jobs", "1", "--seeds", "1"),
        "pets/val/cat/bad.png cannot be read as an image: image file is truncated",
    ),
    "bad images, checked": (
        content("pets/train/cat/bad.png", b""),
        ("check", "pets"),
        "1 error in pets stops a training; remove or replace it, or leave it out with --skip-bad-images",
    ),
    "missing class, checked": (folder("pets/val/owl"), ("check", "pets"), "1 error in pets stops a training"),
    "nothing to check": (
        nothing,
        ("check", "nowhere"),
        "there is no data set or folder called 'nowhere'; see `drkd list",
    ),
    "shapes without a task": (nothing, (*TRAIN, "--data", "shapes"), "add --task detection or --task segmentation"),
    "a folder misspelled": (nothing, (*TRAIN, "--data", "./pest"), "called './pest'; did you mean pets"),
    "class that training lacks": (
        folder("pets/val/owl"),
        PETS,
        "pets/val has classes that the training split does not have: owl",
    ),
    "one class": (remove("pets/train/dog"), PETS, "pets/train needs at least 2 folders, one per class, got 1"),
    "empty folder": (
        folder("empty"),
        (*TRAIN, "--data", "empty"),
        "empty needs at least 2 folders, one per class, got 0",
    ),
    "a file as data": (nothing, (*TRAIN, "--data", "image.png"), "image.png is a file; give the folder that holds the"),
    "no CIFAR": (nothing, (*TRAIN, "--data", "cifar10"), r"cifar10 is not at data/cifar-10-batches-py \(.*--download"),
    "no Tiny ImageNet": (
        nothing,
        (*TRAIN, "--data", "tiny_imagenet"),
        "tiny_imagenet is expected at data/tiny-imagenet",
    ),
    "no ImageNet": (nothing, (*TRAIN, "--data", "imagenet"), "imagenet is expected at data/imagenet/train/<wnid>"),
    "damaged Parquet": (
        content("table/train.parquet", b"PAR1"),
        TABLE,
        "train.parquet cannot be read as Parquet: .*replace",
    ),
    "null rows": (
        parquet((None, 1)),
        TABLE,
        "has 1 rows without the bytes of an image or without a label; leave them",
    ),
    "label out of range": (
        parquet((ROWS[0][0], 2**40)),
        TABLE,
        "has labels up to 1099511627776 for 41 images; number",
    ),
    "bad row": (parquet((b"x", 0)), TABLE, "table/train.parquet row 40 cannot be read as an image"),
    # results
    "no report": (nothing, ("report", "nowhere"), "there is no folder nowhere; give the run directory of"),
    "unfinished report": (folder("begun"), ("report", "begun"), "begun holds neither a comparison .*; give"),
    "unfinished run's report": (
        remove("run/summary.json"),
        ("report", "run"),
        "run holds an unfinished run; .*--out run",
    ),
    "damaged summary": (cut("run/summary.json", 40), ("report", "run"), "run/summary.json is damaged"),
    "strange summary": (
        content("run/summary.json", b"[]"),
        ("report", "run"),
        "run/summary.json was not written by drkd: it has no m",
    ),
    "strange results": (
        content("other/results.json", b"{}"),
        ("report", "other"),
        "other/results.json .*has no panels",
    ),
    "results without settings": (
        content("other/results.json", b'{"panels": [], "comparisons": [], "environment": {}}'),
        ("report", "other"),
        "other/config.yaml is missing",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gets_one_line_and_leaves_nothing_behind(here, capsys, case):
    prepare, arguments, message = CASES[case]
    prepare(here)
    before = sorted(here.rglob("*"))
    code = run_cli(*arguments)
    said, told = capsys.readouterr()
    assert code == 2, told
    assert "output goes to" not in said.lower()
    assert told.startswith("drkd: ")
    assert told.count("\n") == 1, told
    assert "Traceback" not in told
    assert re.search(message, told), told
    assert sorted(here.rglob("*")) == before
