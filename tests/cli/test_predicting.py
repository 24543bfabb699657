"""`drkd predict` on many images: what is asked for, where it goes, and what an interruption leaves."""

import csv
import errno
import io
import json
import sys
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch

import drkd
from drkd.cli import predicting
from drkd.cli.output import Guarded
from drkd.export.predicting import predict_files
from drkd.export.runtimes import NetworkSession
from drkd.models.files import write_model
from drkd.utils.errors import InputError
from image_files import noise, run_cli

CLASSES = ("ant", "bee", "=cat")


def network(folder, task="classification"):
    """A network of random weights for three classes, with a temperature."""
    torch.manual_seed(0)
    network = drkd.create_model("mlp", num_classes=3, image_size=8)
    info = drkd.ModelInfo("mlp", CLASSES, 8, 3, (0.5,) * 3, (0.25,) * 3, task=task, temperature=0.5)
    write_model(folder / "model.safetensors", network.state_dict(), info)
    return folder / "model.safetensors"


@pytest.fixture
def model(tmp_path):
    return network(tmp_path)


@pytest.fixture
def folder(tmp_path):
    """Nine images, one of which is none."""
    (tmp_path / "images").mkdir()
    for i in range(9):
        noise(i).save(tmp_path / "images" / f"{i}.png")
    (tmp_path / "images" / "5.png").write_bytes(b"no image")
    return tmp_path / "images"


def expected(model):
    """Probabilities (8, 3) of the images by hand, at temperature 0.5."""
    net, _ = drkd.load_model(model)
    pixels = np.stack([np.asarray(noise(i)) for i in range(9) if i != 5])
    return net((torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25) / 0.5


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_the_most_probable_classes_and_all_probabilities(model, folder, capsys):
    table = expected(model).softmax(dim=1)
    assert run_cli("predict", model, folder, "--top", 2, "--probabilities", "--batch-size", 4) == 1
    rows = rows_of(capsys.readouterr().out)
    assert list(rows[0]) == ["file", "label", "probability", "ant", "bee", "'=cat"]
    highest, order = table.topk(2)
    assert [float(row["probability"]) for row in rows] == pytest.approx(highest.flatten().tolist(), abs=1e-5)
    assert [row["label"].strip("'") for row in rows] == [CLASSES[k] for k in order.flatten().tolist()]
    columns = [[float(row[name]) for name in ("ant", "bee", "'=cat")] for row in rows]
    assert torch.tensor(columns) == pytest.approx(table.repeat_interleave(2, dim=0).detach(), abs=1e-5)
    assert run_cli("predict", model, folder, "--top", 9, "--format", "json", "--probabilities") == 1
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 8 * 3
    assert found[0]["probabilities"] == pytest.approx(dict(zip(CLASSES, table[0].tolist(), strict=True)), abs=1e-5)


def test_several_labels_at_once_rank_all_classes_where_they_are_asked_to(tmp_path, folder, capsys):
    model = network(tmp_path, task="multilabel")
    table = expected(model).sigmoid()
    assert run_cli("predict", model, folder, "--top", 3) == 1
    rows = rows_of(capsys.readouterr().out)
    assert [float(row["probability"]) for row in rows] == pytest.approx(
        table.sort(dim=1, descending=True).values.flatten().tolist(), abs=1e-5
    )
    assert run_cli("predict", model, folder) == 1
    said = {(row["file"][-5:], row["label"].strip("'")) for row in rows_of(capsys.readouterr().out) if row["label"]}
    good = [f"{i}.png" for i in range(9) if i != 5]
    wanted = {(good[i], CLASSES[k]) for i, k in (table >= 0.5).nonzero().tolist()}
    assert said == wanted
    assert 0 < len(wanted) < 24


def test_a_batch_is_one_call_and_progress_counts_the_bad_too(model, folder):
    sizes, seen = [], []
    call = NetworkSession.run

    def counted(self, pixels):
        sizes.append(len(pixels))
        return call(self, pixels)

    with mock.patch.object(NetworkSession, "run", counted):
        found = predict_files(
            str(model), str(folder), batch_size=4, on_problem=lambda _: None, progress=lambda *n: seen.append(n)
        )
        assert len(list(found)) == 8
    assert sizes == [4, 3, 1]
    assert seen == [(0, 9), (4, 9), (8, 9), (9, 9)]
    for wrong in ({"batch_size": 0}, {"top": 0}, {"top": "all"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            predict_files(model, folder, **wrong)


def test_a_file_is_there_once_it_is_complete(model, folder, tmp_path, capsys):
    out = tmp_path / "answers.csv"
    assert run_cli("predict", model, folder, "--out", out) == 1
    assert len(rows_of(out.read_text())) == 8
    assert capsys.readouterr().out == ""
    assert run_cli("predict", model, folder / "1.png", "--out", out, "--quiet") == 0
    assert capsys.readouterr().out == f"{out}\n"
    out.unlink()
    assert run_cli("predict", model, folder / "5.png", "--out", out) == 2
    assert run_cli("predict", model, folder / "1.png", "--out", tmp_path / "none" / "x.csv") == 1
    assert not list(tmp_path.glob("answers*"))
    assert "cannot use" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_an_interruption_leaves_whole_answers(model, folder, tmp_path, capsys, kind):
    out = tmp_path / f"answers.{kind}"
    out.write_text("of yesterday")
    calls = iter([mock.DEFAULT, KeyboardInterrupt])
    call = NetworkSession.run

    def interrupted(self, pixels):
        if next(calls) is KeyboardInterrupt:
            raise KeyboardInterrupt
        return call(self, pixels)

    with mock.patch.object(NetworkSession, "run", interrupted):
        assert run_cli("predict", model, folder, "--batch-size", 2, "--out", out, "--format", kind) == 130
    text = (tmp_path / f"answers.{kind}.part").read_text()
    assert len(json.loads(text) if kind == "json" else rows_of(text)) == 2
    assert out.read_text() == "of yesterday"
    assert f"the predictions so far are in {out}.part" in capsys.readouterr().err


class Head(io.StringIO):
    """A pipe whose reader leaves after three lines."""

    def write(self, text):
        if self.getvalue().count("\n") >= 3:
            raise OSError(errno.EPIPE, "broken pipe")
        return super().write(text)


def test_nothing_is_computed_for_a_reader_who_has_left(model, folder, monkeypatch, capsys):
    sizes = []
    call = NetworkSession.run

    def counted(self, pixels):
        sizes.append(len(pixels))
        return call(self, pixels)

    monkeypatch.setattr(sys, "stdout", Guarded(Head()))
    with mock.patch.object(NetworkSession, "run", counted):
        assert run_cli("predict", model, folder, "--batch-size", 2) == 0
    assert sizes == [2, 2]
    assert capsys.readouterr().err == ""


def test_a_log_gets_a_line_now_and_then_and_never_among_the_answers(model, folder, monkeypatch, capsys):
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(predicting, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert run_cli("predict", model, folder, "--batch-size", 1) == 1
    found = capsys.readouterr()
    assert len(rows_of(found.out)) == 8
    lines = [line for line in found.err.splitlines() if "cannot be read" not in line]
    assert 2 <= len(lines) <= 5
    assert all(line.endswith("of 9 images") for line in lines)
