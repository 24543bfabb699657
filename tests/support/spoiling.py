"""What tests do to a folder with a run in `run` and a data set in `pets` before they call drkd."""

import json
import os
import random
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
    """Give the model file another description of itself."""

    def write(here):
        path = here / "run" / "model.safetensors"
        with safe_open(path, "pt") as file:
            written = json.loads(file.metadata()["drkd"])
        del written["sha256"]
        written = {key: value for key, value in {**written, **changes}.items() if value is not None}
        write_tensors(path, load_file(path), written)

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


def edited(location, old, new):
    """Replace the first `old` in a file."""

    def write(here):
        text = (here / location).read_text()
        assert old in text
        (here / location).write_text(text.replace(old, new, 1))

    return write


def last_byte(location):
    def write(here):
        path = here / location
        path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))

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


def flip(path, seed=0):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    bit = random.Random(seed).randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
