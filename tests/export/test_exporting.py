import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import drkd
from drkd import InputError, ParityError
from drkd.export import exporting, runtimes
from drkd.export.checksums import SEAL, seal
from drkd.export.exporting import export_run
from drkd.export.manifest import KEYS, Manifest
from drkd.export.parity import FLOAT, Tolerance, compare_logits, logits_of, refuse_beyond
from drkd.export.records import Calibrated, ExportRecord
from drkd.export.runtimes import open_session
from drkd.export.writing import write_onnx, write_torch
from drkd.models.deployed import Deployed
from drkd.models.files import ModelInfo
from drkd.targets import state_hash
from drkd.tasks.loading import load_model
from drkd.utils.locks import locked

DATA = drkd.load_data("digits", limit_train=600)


def reference(run, pixels):
    """The network's logits, normalised here and not by drkd."""
    model, info = load_model(run)
    inputs = (torch.from_numpy(pixels).double() / 255 - info.mean[0]) / info.std[0]
    with torch.no_grad():
        return model.double()(inputs).numpy()


@pytest.mark.parametrize("name", ["onnx", "torch"])
def test_a_file_answers_as_the_network_does(run, exported, name):
    pixels = DATA.test.inputs[:70].numpy()
    session = open_session(exported[name].path, allow_code=True)
    for size in (1, 3, 70):
        assert session(pixels[:size]) == pytest.approx(reference(run, pixels[:size]), rel=1e-5, abs=1e-5)


def test_int8_is_smaller_and_close(run, exported):
    pixels = DATA.test.inputs.numpy()
    before, after = reference(run, pixels), logits_of(open_session(exported["int8"].path), pixels)
    assert exported["int8"].bytes < 0.5 * exported["onnx"].bytes
    assert 1e-4 < abs(before - after).max() < 0.2 * abs(before).max()
    assert (before.argmax(axis=1) == after.argmax(axis=1)).mean() > 0.95


def test_int8_has_weights_per_channel_and_activations_in_8_bits(exported):
    model = onnx.load(exported["int8"].path)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 3
    for node in convolutions:
        pixels, kernel = (makers[name] for name in node.input[:2])
        assert pixels.op_type == kernel.op_type == "DequantizeLinear"
        assert weights[kernel.input[0]].data_type == onnx.TensorProto.INT8
        assert weights[kernel.input[1]].dims == weights[kernel.input[0]].dims[:1]
        assert weights[pixels.input[2]].data_type == onnx.TensorProto.UINT8


def test_the_check_counts_what_the_two_answer(run, exported):
    split = DATA.val
    logits = reference(run, split.inputs.numpy())
    for name in ("onnx", "int8", "torch"):
        parity = exported[name].parity
        assert (exported[name].split, parity.samples) == ("val", len(split))
        right = (logits.argmax(axis=1) == split.labels.numpy()).mean()
        assert parity.accuracy_before == pytest.approx(right)
        answers = logits_of(open_session(exported[name].path, allow_code=True), split.inputs.numpy())
        assert parity.accuracy_after == (answers.argmax(axis=1) == split.labels.numpy()).mean()
        assert parity.largest_difference == pytest.approx(abs(logits - answers).max(), abs=1e-5)
        assert parity.agreement == (logits.argmax(axis=1) == answers.argmax(axis=1)).mean()


def test_logits_of_int8_are_not_rounded_to_what_calibration_saw(run, exported):
    """Of no calibration image, and of no few values: 8 bits would cut off the surest images and make ties."""
    session = open_session(exported["int8"].path)
    seen = session(DATA.train.inputs[exporting._spread(DATA.train, 256)].numpy())
    bright = session(np.random.default_rng(0).choice([0, 255], (400, 1, 8, 8)).astype(np.uint8))
    assert bright.max() > seen.max()
    assert len(np.unique(bright)) > 1000


@pytest.mark.parametrize("name", ["onnx", "int8", "torch"])
def test_a_file_says_what_it_is(run, exported, name):
    model, info = load_model(run)
    found = open_session(exported[name].path, allow_code=True).info
    assert found == Manifest.of(info, sha256=state_hash(model), quantize="int8" if name == "int8" else None)
    assert found == exported[name].manifest
    record = json.loads((run / "exports" / f"{exported[name].file}.json").read_text())
    assert record["manifest"] == found.to_json()
    assert record["bytes"] == exported[name].path.stat().st_size


def test_an_export_answers_logits_and_says_their_temperature(run, exported, tmp_path):
    _, info = load_model(run)
    pixels = drkd.load_data("digits", limit_train=600).test.inputs[:1]
    Image.fromarray(pixels[0, 0].numpy()).save(tmp_path / "digit.png")
    for name in ("onnx", "int8"):
        session = open_session(exported[name].path)
        assert session.info.temperature == info.temperature != 1
        exact = (torch.from_numpy(session(pixels.numpy())) / info.temperature).softmax(dim=1).max().item()
        (found,) = drkd.predict_files(exported[name].path, tmp_path / "digit.png")
        assert found.probability == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("name", ["onnx", "int8"])
def test_the_check_has_the_calibration_error_of_both(run, exported, name):
    _, info = load_model(run)
    split = drkd.load_data("digits", limit_train=600).val
    parity, pixels = exported[name].parity, split.inputs.numpy()
    for ece, source in ((parity.ece_before, run), (parity.ece_after, exported[name].path)):
        logits = torch.from_numpy(logits_of(open_session(source), pixels))
        assert ece == pytest.approx(
            drkd.training.metrics.measure(logits / info.temperature, split.labels).ece, abs=1e-5
        )


def test_a_record_is_read_back_as_it_was_written(exported):
    assert all(ExportRecord.read(record.path) == record for record in exported.values())


def test_a_damaged_record_is_refused(exported, tmp_path):
    record = {**exported["torch"].to_json(), "parity": {"samples": "many"}}
    (tmp_path / "model.pt2.json").write_text(json.dumps(record))
    with pytest.raises(
        InputError, match=r"model.pt2.json is not in drkd's format: parity.samples: .*; create it again"
    ):
        ExportRecord.read(tmp_path / "model.pt2")


def test_onnx_metadata_can_be_read_without_drkd(exported):
    said = {entry.key: json.loads(entry.value) for entry in onnx.load(exported["onnx"].path).metadata_props}
    assert set(said) == {*KEYS, SEAL}
    assert said["classes"] == [str(digit) for digit in range(10)]
    assert (said["image_size"], said["channels"], said["mean"]) == (8, 1, list(DATA.mean))


@pytest.mark.parametrize("name", ["onnx", "int8", "torch"])
def test_no_path_of_this_machine_is_in_a_file(exported, name):
    content = exported[name].path.read_bytes()
    assert str(Path(drkd.__file__).parent).encode() not in content
    assert str(Path(torch.__file__).parent).encode() not in content


@pytest.mark.parametrize("model", ["mlp", "timm:lcnet_035"])
def test_networks_export(model, tmp_path):
    """One without convolutions, one with squeeze-and-excitation; statistics of batch norms that are not the first."""
    network = drkd.create_model(model, num_classes=7, image_size=16)
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 16, 16))
    info = ModelInfo(model, tuple("abcdefg"), 16, 3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    deployed = Deployed(network, info.mean, info.std).eval().requires_grad_(False)
    pixels = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    expected = deployed(pixels)
    write_onnx(deployed, Manifest.of(info, sha256="", quantize=None), tmp_path / "model.onnx")
    seal(tmp_path / "model.onnx")
    found = torch.from_numpy(logits_of(open_session(tmp_path / "model.onnx", threads=1), pixels.numpy()))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_a_file_that_differs_is_not_kept(run, tmp_path, monkeypatch):
    """Here because its normalisation is another."""
    model, info = load_model(run)
    other = dataclasses.replace(info, mean=(0.5,), std=(0.1,))
    monkeypatch.setattr(exporting, "load_model", lambda _: (model, other))
    with pytest.raises(
        ParityError, match=r"model.onnx is rejected: on .* images a logit differs by .*--max-difference"
    ):
        export_run(run, out=tmp_path / "new" / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_older_export_survives_a_refusal(run, exported):
    before = {file.name: file.read_bytes() for file in (run / "exports").iterdir()}
    with pytest.raises(ParityError, match=r"a logit differs by .*; try another --calibration, or allow it"):
        export_run(run, quantize="int8", tolerance=Tolerance(1e-6, 1.0, 0.0))
    assert {file.name: file.read_bytes() for file in (run / "exports").iterdir()} == before


def test_the_same_run_gives_the_same_file(run, exported, tmp_path):
    again = export_run(run, quantize="int8", out=tmp_path / "again.onnx")
    assert again.path.read_bytes() == exported["int8"].path.read_bytes()


def test_a_file_may_be_put_elsewhere_and_checked_on_the_test_split(run, tmp_path):
    record = export_run(run / "model.safetensors", "torch", out=tmp_path / "mine", split="test", samples=50)
    assert record.path == tmp_path / "mine.pt2"
    assert (record.split, record.parity.samples) == ("test", 50)
    assert {file.name for file in tmp_path.iterdir()} == {"mine.pt2", "mine.pt2.json"}


def test_another_calibration_gives_another_file(run, exported, tmp_path, capfd):
    options = {"out": tmp_path / "model.onnx", "calibration": "percentile", "calibration_samples": 66}
    record = export_run(run, quantize="int8", **options)
    assert record.calibration == Calibrated("percentile", 66)
    assert capfd.readouterr() == ("", "")
    assert record.path.read_bytes() != exported["int8"].path.read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "tflite"}, "--format should be one of onnx, openvino, torch, executorch, got 'tflite'"),
        ({"quantize": "int4"}, "--quantize should be int8, got 'int4'"),
        ({"format": "torch", "quantize": "int8"}, "--quantize is for onnx, openvino, not for torch"),
        ({"calibration": "best"}, "--calibration should be minmax or percentile, got 'best'"),
        ({"split": "train"}, "--split should be val or test, got 'train'"),
    ],
)
def test_wrong_options_are_refused(run, options, message):
    with pytest.raises(InputError, match=message):
        export_run(run, **options)


@pytest.mark.parametrize(
    ("missing", "options", "extra"),
    [
        ("onnxscript", {}, "onnx"),
        ("onnxruntime.quantization", {"quantize": "int8"}, "onnx"),
        ("openvino", {"format": "openvino"}, "openvino"),
        ("executorch.exir", {"format": "executorch"}, "executorch"),
    ],
)
def test_a_missing_extra_is_named(run, tmp_path, monkeypatch, missing, options, extra):
    real = runtimes.import_module

    def absent(name):
        if name == missing:
            raise ImportError(f"No module named {name!r}", name=name)
        return real(name)

    monkeypatch.setattr(runtimes, "import_module", absent)
    with pytest.raises(InputError, match=rf"this needs {missing}, which is not installed; install drkd\[{extra}\]"):
        export_run(run, **options, out=tmp_path / "exports" / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_be_traced_is_named(tmp_path):
    class Branching(torch.nn.Module):
        def forward(self, inputs):
            return inputs.flatten(1) if inputs.sum() > 0 else -inputs.flatten(1)

    manifest = Manifest("mine", ("a", "b"), 4, 1, mean=(0.5,), std=(0.5,), sha256="", quantize=None)
    for write in (write_onnx, write_torch):
        with pytest.raises(InputError, match="the network mine cannot be exported"):
            write(Deployed(Branching(), [0.5], [0.5]).eval(), manifest, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_few_images_may_change_one_class():
    before, labels = np.eye(10, dtype=np.float32), np.arange(10)
    one, two = before.copy(), before.copy()
    one[0] = one[0, ::-1]
    two[:2] = two[:2, ::-1]
    loose = Tolerance(None, FLOAT.agreement, FLOAT.accuracy_drop)
    refuse_beyond(loose, compare_logits(before, one, labels), "f")
    with pytest.raises(ParityError, match=r"only 80.00% get the same class \(required: 90.00%\); .* --min-agreement"):
        refuse_beyond(loose, compare_logits(before, two, labels), "f")
    with pytest.raises(ParityError, match=r"accuracy falls by 20.00 points \(allowed: 10.00\); .* --max-drop"):
        refuse_beyond(Tolerance(None, 0.5, 0.0), compare_logits(before, two, labels), "f")


def test_logits_that_are_not_finite_are_refused():
    bad = np.float32([[np.nan, 0.0]])
    with pytest.raises(ParityError, match="not finite"):
        refuse_beyond(Tolerance(None, 0, 1), compare_logits(np.float32([[1.0, 0.0]]), bad, np.array([0])), "f")


def test_what_a_killed_export_left_goes_and_what_a_running_one_needs_stays(run, tmp_path):
    for name in ("killed", "running"):
        (tmp_path / f".model.onnx.{name}.scratch").mkdir()
        (tmp_path / f".model.onnx.{name}.scratch" / "lock").write_text("process 1 on elsewhere")
    with locked(tmp_path / ".model.onnx.running.scratch" / "lock"):
        export_run(run, "torch", out=tmp_path / "model", samples=10)
        assert {path.name for path in tmp_path.iterdir()} == {
            *(".model.onnx.running.scratch", "model.pt2", "model.pt2.json")
        }
