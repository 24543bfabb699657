"""What tests do to a folder with a run in `run` and a data set in `pets` before drkd is asked about it."""

import json
import os
import shutil

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from drkd.utils.files import write_tensors
from image_files import ROWS, write_parquet


def config(text):
    def write(here):
        (here / "c.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


def content(location, what):
    def write(here):
        (here / location).parent.mkdir(parents=True, exist_ok=True)
        (here / location).write_bytes(what)

    return write


def remove(location):
    def take(here):
        shutil.rmtree(here / location) if (here / location).is_dir() else (here / location).unlink()

    return take


def folder(location):
    return lambda here: (here / location).mkdir(parents=True)


def about(**changes):
    """The model file says something else of itself."""

    def write(here):
        path = here / "run" / "model.safetensors"
        with safe_open(path, "pt") as file:
            said = json.loads(file.metadata()["drkd"])
        del said["sha256"]
        said = {key: value for key, value in {**said, **changes}.items() if value is not None}
        write_tensors(path, load_file(path), said)

    return write


def metadata(text):
    def write(here):
        path = here / "run" / "model.safetensors"
        save_file(load_file(path), path, {"drkd": text})

    return write


def cut(location, size):
    def write(here):
        path = here / location
        path.write_bytes(path.read_bytes()[:size])

    return write


def parquet(*rows):
    def write(here):
        (here / "table").mkdir()
        write_parquet(here / "table" / "train.parquet", [*ROWS, *rows])

    return write


class Code:
    def __reduce__(self):
        return (os.mkdir, ("owned",))


def saved(value, location="teacher.pt"):
    return lambda here: torch.save(value, here / location)


def nothing(here):
    pass
