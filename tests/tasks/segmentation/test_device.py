"""Segmenters on their way to a device: exported files, and whether they are the network."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

import drkd
from drkd import ParityError
from drkd.export.exporting import export_run
from drkd.export.latency import bench_files
from drkd.export.mask_parity import FLOAT_MASKS, INT8_MASKS, compare_masks, refuse_masks_beyond
from drkd.export.parity import Tolerance
from drkd.export.records import ExportRecord
from drkd.export.runtimes import open_session
from drkd.models.files import ModelInfo, write_model
from drkd.report.exports import print_exports
from drkd.tasks.segmentation import create_segmenter, deployed, evaluate_segmenter, load_segmentation, networks
from drkd.tasks.segmentation.deployed import deploy_segmenter
from segmenters import by_colour, write_by_colour
from shapes import write_masks

SIZE = 32
CLASSES = ("ground", "disc", "square")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_masks(tmp_path_factory.mktemp("shapes") / "set", train=6, val=3, test=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A file of a segmenter whose classes are spread, as a training would spread them."""
    out = tmp_path_factory.mktemp("runs") / "run"
    out.mkdir()
    torch.manual_seed(0)
    network = create_segmenter("small_fcn", num_classes=3)
    for head in (network.low_classifier, network.high_classifier):
        head.weight.data.normal_(0, 1)
    info = ModelInfo("small_fcn", CLASSES, SIZE, 3, (0.5,) * 3, (0.25,) * 3, task="segmentation")
    write_model(out / "model.safetensors", network.state_dict(), info)
    return out


@pytest.fixture(scope="module")
def exported(run, folder):
    return export_run(run, data=str(folder))


@pytest.fixture(scope="module")
def in_int8(run, folder, exported):
    return export_run(run, data=str(folder), quantize="int8", calibration_samples=6, tolerance={"agreement": 0.8})


def test_a_deployed_segmenter_is_normalisation_and_argmax():
    network = nn.Conv2d(3, 4, 3, padding=1)
    pixels = torch.randint(0, 256, (2, 3, 9, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    found = deploy_segmenter(network, mean.tolist(), std.tolist())(pixels)
    normalised = (pixels.float() / 255 - mean[:, None, None]) / std[:, None, None]
    assert found.dtype == torch.uint8
    assert torch.equal(found.long(), network(normalised).argmax(1))


def test_an_auxiliary_head_is_not_computed_and_stays_where_it_was():
    class WithAux(nn.Module):
        def __init__(self):
            super().__init__()
            self.classifier, self.aux_classifier = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

        def forward(self, images):
            outputs = {"out": self.classifier(images)}
            return outputs if self.aux_classifier is None else {**outputs, "aux": self.aux_classifier(images)}

    network = WithAux()
    made = deploy_segmenter(network, [0.0] * 3, [1.0] * 3)
    assert not [name for name in made.state_dict() if "aux" in name]
    assert made.state_dict()["deployed.network.network.classifier.weight"] is not None
    pixels = torch.full((1, 3, 2, 2), 51, dtype=torch.uint8)
    expected = network(pixels.float() / 255)
    assert set(expected) == {"out", "aux"}
    assert torch.equal(made(pixels).long(), expected["out"].argmax(1))


def test_an_onnx_file_gives_every_pixel_the_class_of_torch(run, exported):
    network, _ = drkd.load_model(run)
    session = open_session(exported.path, threads=1)
    assert session.info.input == "uint8 (B, C, H, W), 0 to 255"
    for batch in (1, 3):
        pixels = np.random.default_rng(batch).integers(0, 256, (batch, 3, SIZE, SIZE), dtype=np.uint8)
        pixels = pixels[..., ::8, ::8].repeat(8, 2).repeat(8, 3)  # plain areas, so that classes have some too
        (mask,) = session.run(pixels)
        with torch.no_grad():
            logits = network((torch.from_numpy(pixels).float() / 255 - 0.5) / 0.25)["out"]
        first, second = logits.topk(2, dim=1).values.unbind(1)
        clear = (first - second).numpy() > 1e-4
        assert (mask.dtype, mask.shape) == (np.uint8, (batch, SIZE, SIZE))
        assert clear.mean() > 0.99
        assert np.array_equal(mask[clear], logits.argmax(1).numpy()[clear])
        assert set(mask.ravel().tolist()) == {0, 1, 2}


def test_the_record_of_an_export_says_how_it_was_checked(run, folder, exported):
    network, _ = drkd.load_model(run)
    data = load_segmentation(folder, image_size=SIZE)
    own = evaluate_segmenter(network, replace(data, mean=(0.5,) * 3, std=(0.25,) * 3), "val")
    parity = exported.parity
    assert (exported.split, parity.samples) == ("val", 3)
    assert parity.pixels == sum(int((data.val[row][1] != 255).sum()) for row in range(3))
    assert parity.miou_before == pytest.approx(own.miou, abs=1e-9)
    assert parity.pixel_accuracy_before == pytest.approx(own.pixel_accuracy, abs=1e-9)
    assert parity.agreement > 0.999
    assert exported.tolerance == FLOAT_MASKS
    assert ExportRecord.read(exported.path) == exported
    assert f"{parity.pixels} pixels" in parity.describe()


def test_int8_is_small_and_changes_the_convolutions_only(exported, in_int8):
    import onnx

    assert in_int8.bytes < 0.5 * exported.bytes
    assert in_int8.tolerance == Tolerance(None, 0.8, INT8_MASKS.accuracy_drop)
    assert 0.8 < in_int8.parity.agreement <= 1
    model = onnx.load(in_int8.path)
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    kinds = {(node.op_type, makers.get(name)) for node in model.graph.node for name in node.input[:2]}
    assert {maker for kind, maker in kinds if kind == "Conv"} == {"DequantizeLinear"}
    assert ("QuantizeLinear", "Resize") not in kinds


@pytest.fixture
def sure(tmp_path, monkeypatch):
    """A run whose network is right about every pixel."""
    monkeypatch.setitem(networks.SEGMENTERS, "by_colour", by_colour)
    return write_by_colour(tmp_path / "run", CLASSES)


def test_torch_export_files_are_the_network(sure, folder):
    record = export_run(sure, "torch", data=str(folder))
    assert (record.parity.agreement, record.parity.miou_before, record.parity.miou_after) == (1, 1, 1)
    assert open_session(record.path, allow_code=True).run(np.zeros((2, 3, 64, 64), np.uint8))[0].shape == (2, 64, 64)


def test_a_file_that_differs_is_not_kept(sure, folder, monkeypatch):
    deploy = deployed.deploy_segmenter

    def biased(network, mean, std):
        monkeypatch.setattr(deployed, "deploy_segmenter", deploy)  # the network that it is compared with is as it was
        network.bias.data[0] += 1
        return deploy(network, mean, std)

    monkeypatch.setattr(deployed, "deploy_segmenter", biased)
    with pytest.raises(ParityError, match=r"model.pt2 is rejected: on 3 images .*; allow"):
        export_run(sure, "torch", data=str(folder))
    assert [path.name for path in sure.iterdir()] == ["model.safetensors"]


def test_parity_counts_known_pixels():
    rng = np.random.default_rng(0)
    before = rng.integers(0, 3, (4, 6, 5), dtype=np.uint8)
    after = np.where(rng.random(before.shape) < 0.2, rng.integers(0, 3, before.shape), before).astype(np.uint8)
    truth = np.where(rng.random(before.shape) < 0.3, 255, rng.integers(0, 3, before.shape)).astype(np.uint8)
    found = compare_masks(before, after, list(torch.from_numpy(truth)), CLASSES)
    known = truth != 255
    same = before == after
    assert found.pixels == known.sum()
    assert found.agreement == pytest.approx(same[known].mean())
    assert found.largest_difference == pytest.approx(max(1 - same[row][known[row]].mean() for row in range(4)))

    def miou(masks):
        pairs = [((masks == k) & known, (truth == k)) for k in range(3)]
        return np.mean([(ours & theirs).sum() / (ours | theirs).sum() for ours, theirs in pairs])

    assert found.miou_before == pytest.approx(miou(before))
    assert found.miou_after == pytest.approx(miou(after))
    assert found.pixel_accuracy_after == pytest.approx((after == truth)[known].mean())


@pytest.mark.parametrize(
    ("tolerance", "words"),
    [
        (Tolerance(0.49, 0.0, 1.0), "50% of an image's pixels get another class \\(allowed: 49%\\).*--max-difference"),
        (Tolerance(None, 0.76, 1.0), "75.00% of the pixels get the same class \\(required: 76.00%\\).*--min-agreement"),
        (Tolerance(None, 0.0, 0.4), r"mIoU falls by 41.67 points \(allowed: 40.00\).*--max-drop"),
    ],
)
def test_every_bound_is_named(tolerance, words):
    truth = torch.tensor([[[0, 0]], [[1, 1]]], dtype=torch.uint8)
    found = compare_masks(truth.numpy(), np.array([[[0, 1]], [[1, 1]]], np.uint8), list(truth), CLASSES)
    with pytest.raises(ParityError, match=words):
        refuse_masks_beyond(tolerance, found, "model.onnx")
    refuse_masks_beyond(Tolerance(0.5, 0.75, 0.42), found, "model.onnx")


def test_files_are_measured_and_reported(run, exported, in_int8):
    bench_files([run], calls=10, memory=False)
    console = Console(width=150, file=io.StringIO())
    print_exports(run, console)
    text = console.file.getvalue()
    assert all(words in text for words in ("mIoU %", "same pixels %", "worst image", "model-int8.onnx", "3 images"))
