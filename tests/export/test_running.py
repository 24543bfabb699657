"""Exported files in `predict` and `bench-model`, and damaged ones."""

import csv
import io
import itertools
import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import onnx
import pytest
import torch
from PIL import Image

import drkd
from drkd import InputError
from drkd.export import latency
from drkd.export.checksums import check_files, record_path
from drkd.export.exporting import export_run
from drkd.export.latency import bench_files
from drkd.export.manifest import KEYS
from drkd.export.memory import Memory, measure_here, measure_memory
from drkd.export.predicting import predict_files
from drkd.export.records import LatencyResults
from drkd.export.runtimes import open_session
from drkd.report.exports import read_exports
from image_files import run_cli
from spoiling import flip


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    data = drkd.load_data("digits")
    for i in range(5):
        Image.fromarray(data.test.inputs[i, 0].numpy()).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize("name", ["onnx", "torch"])
def test_predict_says_the_same_of_a_file_as_of_its_run(run, exported, images, name):
    before, after = (list(predict_files(path, [images], allow_code=True)) for path in (run, exported[name].path))
    assert [(row.file, row.label) for row in after] == [(row.file, row.label) for row in before]
    assert [row.probability for row in after] == pytest.approx([row.probability for row in before], abs=1e-6)


def test_predict_prints_an_exported_file_in_the_same_format(run, exported, images, capsys):
    tables = []
    for path in (run, exported["int8"].path):
        assert run_cli("predict", path, images) == 0
        tables.append(list(csv.DictReader(io.StringIO(capsys.readouterr().out))))
    assert [row["label"] for row in tables[0]] == [row["label"] for row in tables[1]]
    assert tables[0][0].keys() == tables[1][0].keys()


def test_an_exported_file_takes_no_accelerator(exported, images):
    with pytest.raises(InputError, match="runs on the processor, got --device cuda"):
        predict_files(exported["onnx"].path, [images], device="cuda")


def test_times_are_percentiles_of_single_calls_without_the_warm_up(exported, monkeypatch):
    """The clock ticks once per reading and a call lasts one tick, but the first 20 of a file and 5 later ones more."""
    monkeypatch.setattr(latency, "measure_memory", lambda *_, **__: None)
    path = exported["onnx"].path
    lengths = itertools.chain([100] * 20, [7] * 5, itertools.repeat(1))
    reads = itertools.count()
    now = [0.0]

    def clock():
        now[0] += next(lengths) if next(reads) % 2 else 0
        return now[0]

    found = bench_files([path], calls=30, batch_sizes=[1, 4], clock=clock)
    first, second = found.files[0].figures
    assert (first.threads, first.batch_size, second.batch_size) == (1, 1, 4)
    assert (first.p50_ms, first.p95_ms) == (1000, 7000)
    assert (first.images_per_second, second.images_per_second) == (1, 4)
    assert found.files[0].bytes == path.stat().st_size


def test_a_run_is_measured_with_its_exports(run, exported, capsys, monkeypatch):
    monkeypatch.setattr(latency, "measure_memory", lambda *_, **__: Memory(71.4, 7.2))
    assert run_cli("bench-model", run, "--calls", "10", "--threads", "1", "--allow-code") == 0
    shown = capsys.readouterr().out
    rows, speed = read_exports(run)
    assert [row.file for row in rows] == ["model.safetensors", "model-int8.onnx", "model.onnx", "model.pt2"]
    for row in rows:
        assert row.file in shown
        assert 0 < row.measured.figures[0].p50_ms <= row.measured.figures[0].p95_ms
    assert shown.count("71 / 7") == 2 * len(rows)
    assert "onnxruntime" in speed.files[1].runtime
    assert (run / "exports" / "exports.png").stat().st_size > 1000
    assert run_cli("report", run) == 0
    again = capsys.readouterr().out
    accuracy = f"{100 * exported['int8'].parity.accuracy_after:.2f}"
    assert all(text in again for text in ("model-int8.onnx", accuracy, "exports.png"))
    other = [replace(file, bytes=file.bytes + (".onnx" in file.file)) for file in speed.files]
    monkeypatch.setattr(LatencyResults, "read", lambda _: replace(speed, files=other))
    left = {row.file: row.measured for row in read_exports(run)[0]}  # not those of other files of the same names
    assert [file for file, measured in left.items() if measured] == ["model.safetensors", "model.pt2"]


def test_export_and_bench_model_print_json(run, exported, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(latency, "measure_memory", lambda *_, **__: None)
    assert run_cli("export", run, "--format", "torch", "--out", tmp_path / "model", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["parity"]["agreement"] == 1
    assert run_cli("bench-model", record["path"], "--calls", "10", "--json", "--allow-code") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["files"][0]["file"] == record["path"]
    assert found["files"][0]["memory"] is None
    assert found["settings"]["calls"] == 10


def test_a_refused_export_exits_1_with_one_line(run, tmp_path, capsys):
    options = ("--quantize", "int8", "--max-difference", "1e-9", "--out", tmp_path / "model.onnx")
    assert run_cli("export", run, *options) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("drkd: model.onnx is rejected: on ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_memory_of_a_process(exported):
    """One that runs an ONNX file holds far less than this one, which has torch."""
    path = exported["onnx"].path
    fresh = measure_memory(path, batch_size=2, threads=1)
    if not Path("/proc/self/status").is_file():
        assert fresh is None
        return
    here = measure_here(path, batch_size=2, threads=1)
    assert 0 < fresh.file_mib < fresh.process_mib < 0.7 * here.process_mib
    with pytest.raises(InputError, match=r"cannot be measured in a process of its own: .*there is no file"):
        measure_memory(Path("no.onnx"), batch_size=1, threads=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--threads", "0"), "--threads should be 1 or more, got 0"),
        (("--threads", "1,100000"), "--threads 100000 is more than the "),
        (("--batch-sizes", "1,two"), "--batch-sizes should be comma-separated whole numbers, such as 1,2, got '1,two'"),
    ],
)
def test_bench_model_refuses_bad_numbers(run, options, message, capsys):
    assert run_cli("bench-model", run, *options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["onnx", "torch"])
def test_damaged_files_are_refused(exported, tmp_path, name):
    source = exported[name].path
    damaged = tmp_path / source.name
    damaged.write_bytes(source.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cannot be loaded: .*; export it again"):
        open_session(damaged, allow_code=True)
    with pytest.raises(InputError, match="there is no file"):
        open_session(tmp_path / f"missing{source.suffix}", allow_code=True)


@pytest.mark.parametrize("name", ["onnx", "int8", "torch"])
def test_a_flipped_bit_is_found_by_the_record_beside_the_file(exported, tmp_path, name):
    source = exported[name].path
    copy = shutil.copy(source, tmp_path)
    shutil.copy(record_path(source), tmp_path)
    assert open_session(Path(copy), allow_code=True).info == exported[name].manifest
    for seed in range(20):
        shutil.copy(source, copy)
        flip(Path(copy), seed)
        with pytest.raises(InputError, match=r"is damaged: its content is not what was written; export it again"):
            open_session(Path(copy), allow_code=True)
    shutil.copy(source, copy)
    for damaged in (b"", b"[]", b"{}", b'{"checksums": 3}', b'{"checksums": {"none": "0"}}', b"\xff"):
        record_path(Path(copy)).write_bytes(damaged)
        with pytest.raises(InputError, match=r"export"):
            open_session(Path(copy), allow_code=True)


@pytest.mark.parametrize("name", ["onnx", "int8", "torch"])
def test_a_file_that_was_moved_alone_is_checked_by_its_own_checksum(exported, tmp_path, name):
    copy = Path(shutil.copy(exported[name].path, tmp_path))
    assert check_files(copy)
    for seed in range(5):
        shutil.copy(exported[name].path, copy)
        flip(copy, seed)
        with pytest.raises(InputError, match=r"is damaged: .* is not what was written; export it again"):
            open_session(copy, allow_code=True)


def test_a_file_without_any_checksum_is_said_to_be_unchecked(exported, tmp_path):
    model = onnx.load(exported["onnx"].path)
    del model.metadata_props[-1]
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.warns(UserWarning, match=r"model\.onnx has neither its record model\.onnx\.json .* would go unnoticed"):
        open_session(tmp_path / "model.onnx")


@pytest.mark.skipif(not find_spec("openvino"), reason="an extra")
def test_both_files_of_openvino_are_checked(run, tmp_path):
    record = export_run(run, "openvino", out=tmp_path / "model")
    assert set(record.checksums) == {"model.xml", "model.bin"}
    flip(tmp_path / "model.bin")
    with pytest.raises(InputError, match=r"model\.bin is damaged"):
        open_session(record.path)
    (tmp_path / "model.bin").unlink()
    with pytest.raises(InputError, match=r"needs .*model\.bin, which is missing"):
        open_session(record.path)


def test_what_can_run_code_is_loaded_only_where_that_is_allowed(run, exported, images, monkeypatch, capsys):
    path, loaded = exported["torch"].path, []
    load = torch.export.load
    monkeypatch.setattr(torch.export, "load", lambda *args, **options: loaded.append(1) or load(*args, **options))
    monkeypatch.setattr(latency, "measure_memory", lambda *_, **__: None)
    for arguments in (("predict", path, images), ("bench-model", path, "--calls", "10")):
        assert run_cli(*arguments) == 2
        assert "model.pt2 can run code when it is loaded; add --allow-code if you trust" in capsys.readouterr().err
    with pytest.warns(UserWarning, match=r"model\.pt2 is left out: it can run code"):
        found = bench_files([run], calls=10)
    assert [Path(each.file).suffix for each in found.files] == [".safetensors", ".onnx", ".onnx"]
    assert not loaded
    assert run_cli("predict", path, images, "--allow-code") == 0
    assert loaded


def test_files_of_others_are_refused(exported, tmp_path):
    model = onnx.load(exported["onnx"].path)
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key in KEYS}

    def says(**changed):
        del model.metadata_props[:]
        for name, text in {**kept, **changed}.items():
            if text is not None:
                model.metadata_props.add(key=name, value=text)
        onnx.save(model, tmp_path / "model.onnx")
        with pytest.raises(InputError) as error:
            open_session(tmp_path / "model.onnx")
        return str(error.value)

    assert "does not describe its input and output (no classes)" in says(classes=None)
    assert "has a damaged description" in says(mean="[0.5")
    assert "takes float, but this drkd feeds uint8" in says(input='"float"')
