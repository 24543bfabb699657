"""Detectors on their way to a device: answers about files, exported files, and whether both are the network's own."""

import csv
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import batched_nms

import drkd
from detectors import make
from drkd import BoxOptions, InputError, ParityError
from drkd.export import programs
from drkd.export.box_parity import FLOAT_BOXES, compare_boxes
from drkd.export.checksums import seal
from drkd.export.exporting import export_run
from drkd.export.latency import bench_files
from drkd.export.manifest import Manifest
from drkd.export.parity import Tolerance
from drkd.export.records import ExportRecord
from drkd.export.runtimes import open_session
from drkd.export.writing import write_onnx
from drkd.models.files import ModelInfo, write_model
from drkd.tasks.answers import Asked, ReadImage
from drkd.tasks.detection.answering import find_boxes, image_id
from drkd.tasks.detection.deployed import DeployedSSD, deploy_detector
from drkd.tasks.detection.networks import create_detector
from drkd.tasks.detection.splits import decode
from image_files import run_cli
from shapes import write_coco

SIZE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("shapes") / "set", train=6, val=3, test=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A file of a detector whose scores are spread, as a training would spread them."""
    out = tmp_path_factory.mktemp("runs") / "run"
    out.mkdir()
    torch.manual_seed(0)
    detector = create_detector("small_ssd", num_classes=2, image_size=SIZE)
    with torch.no_grad():
        for parameter in detector.head.classification_head.parameters():
            parameter.normal_(0, 0.3)
    info = ModelInfo("small_ssd", ("disc", "square"), SIZE, 3, (0.0,) * 3, (1.0,) * 3, task="detection")
    write_model(out / "model.safetensors", detector.state_dict(), info)
    return out


@pytest.fixture(scope="module")
def exported(run, folder):
    return export_run(run, data=str(folder))


def found_by_torchvision(run, file):
    """Boxes in pixels of the file, by torchvision's own detector on the image as training reads it."""
    detector, _ = drkd.load_model(run)
    with torch.no_grad():
        (found,) = detector([decode(file, SIZE).float() / 255])
    return found


def named(outputs):
    return dict(zip(("boxes", "labels", "scores"), outputs, strict=True))


@pytest.mark.parametrize("family", ["ssd", "two_stage", "retina"])
def test_a_deployed_detector_answers_as_torchvision_does(family):
    detector = make(family).eval()
    with torch.no_grad():  # scores that differ, as random ones hardly do
        for name, parameter in detector.named_parameters():
            if any(part in name for part in ("classification_head", "predictor.scores")):
                parameter.normal_(0, 0.2)
    deployed = deploy_detector(detector)
    assert isinstance(deployed, DeployedSSD) == (family == "ssd")
    pixels = torch.randint(0, 256, (1, 3, 50, 70), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    (expected,) = detector([pixels[0].float() / 255])
    assert len(expected["scores"]) > 3
    for name, value in zip(("boxes", "labels", "scores"), deployed(pixels), strict=True):
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-4)


def test_predictions_are_the_boxes_of_torchvision_in_pixels_of_the_file(run, folder, tmp_path):
    file = folder / "test" / "010.png"
    large = tmp_path / "large.png"
    Image.open(file).resize((640, 480), Image.Resampling.NEAREST).save(large)
    expected = found_by_torchvision(run, large)
    wide = decode(large, SIZE).shape[-1]
    found = list(drkd.predict_files(run, large, boxes=BoxOptions(threshold=0)))
    assert len(found) == len(expected["scores"]) > 10
    boxes = torch.tensor([[each.x1, each.y1, each.x2, each.y2] for each in found])
    scale = torch.tensor([640 / wide, 480 / SIZE] * 2)
    torch.testing.assert_close(boxes, expected["boxes"] * scale, rtol=1e-5, atol=1e-3)
    assert [each.score for each in found] == pytest.approx(expected["scores"].tolist(), abs=1e-6)
    assert [each.label for each in found] == [("disc", "square")[k - 1] for k in expected["labels"].tolist()]


@given(threshold=st.floats(0, 1), overlap=st.floats(0, 1), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_threshold_and_nms_are_those_of_torchvision(threshold, overlap, seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(12, 2, generator=generator) * 20
    boxes = torch.cat([corner, corner + 8], 1)
    labels, scores = torch.randint(1, 3, (12,), generator=generator), torch.rand(12, generator=generator)
    image = ReadImage(drkd.__file__, np.zeros((3, 32, 32), np.uint8), (32, 32))
    asked = Asked(boxes=BoxOptions(threshold, overlap))
    outputs = [each.numpy() for each in (boxes, labels, scores)]
    kept = torch.where(scores >= threshold)[0]
    kept = kept[batched_nms(boxes[kept], scores[kept], labels[kept], overlap)]
    found = list(find_boxes(outputs, image, ("a", "b"), asked))
    assert [each.score for each in found] == scores[kept].tolist()
    assert [each.x1 for each in found] == pytest.approx(boxes[kept, 0].tolist())


def test_coco_results_are_what_pycocotools_reads(run, folder, tmp_path, capsys):
    out = tmp_path / "found.json"
    assert run_cli("predict", run, folder / "test", "--format", "coco", "--out", out) == 0
    truth = json.loads((folder / "annotations" / "instances_test.json").read_text())
    of_id = {4: 1, 9: 2}  # ids of categories to labels
    for each in truth["annotations"]:
        each |= {"category_id": of_id[each["category_id"]], "iscrowd": 0, "area": each["bbox"][2] * each["bbox"][3]}
    truth["categories"] = [{"id": 1, "name": "disc"}, {"id": 2, "name": "square"}]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    coco = COCO(tmp_path / "truth.json")
    evaluation = COCOeval(coco, coco.loadRes(str(out)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    data = drkd.tasks.detection.load_detection(folder, image_size=SIZE)
    detector, _ = drkd.load_model(run)
    expected = drkd.tasks.detection.evaluate_detector(detector, data, "test")
    assert evaluation.stats[:2].tolist() == pytest.approx([expected.map, expected.map50], abs=1e-6)
    capsys.readouterr()


def test_ids_of_images_depend_on_their_names_alone():
    assert image_id("0012.png") == 12
    assert image_id("a.png") == image_id("a.png") != image_id("b.png")
    assert 0 <= image_id("ä.png") < 2**48


def test_an_export_is_the_network_on_images_of_any_size(run, exported):
    detector, _ = drkd.load_model(run)
    deployed = deploy_detector(detector)
    session = open_session(exported.path, threads=1)
    assert session.info.input == "uint8 (1, 3, H, W), 0 to 255"
    for seed, shape in enumerate([(64, 64), (48, 96), (33, 50)]):
        pixels = torch.randint(0, 256, (1, 3, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
        found = dict(
            zip(("boxes", "labels", "scores"), map(torch.from_numpy, session.run(pixels.numpy())), strict=True)
        )
        own = dict(zip(("boxes", "labels", "scores"), deployed(pixels), strict=True))
        assert len(own["scores"]) > 10
        truth = [{"boxes": own["boxes"][:1], "labels": own["labels"][:1]}]
        parity = compare_boxes([own], [found], truth)
        assert parity.agreement == 1
        assert parity.largest_difference < 1e-5


@pytest.mark.parametrize("family", ["two_stage", "retina"])
def test_every_family_becomes_onnx(family, tmp_path):
    torch.manual_seed(0)
    detector = make(family).eval()
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if any(part in name for part in ("classification_head", "predictor.scores")):
                parameter.normal_(0, 0.3)
    info = ModelInfo(family, ("a", "b", "c"), SIZE, 3, (0.0,) * 3, (1.0,) * 3, task="detection")
    deployed = deploy_detector(detector)
    write_onnx(deployed, Manifest.of(info, sha256="", quantize=None), tmp_path / "model.onnx")
    seal(tmp_path / "model.onnx")
    session = open_session(tmp_path / "model.onnx", threads=1)
    for shape in ((64, 96), (50, 70)):
        pixels = torch.randint(0, 256, (1, 3, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
        own, found = named(deployed(pixels)), named(map(torch.from_numpy, session.run(pixels.numpy())))
        assert len(own["scores"]) == len(found["scores"]) > 3
        parity = compare_boxes([own], [found], [{"boxes": own["boxes"][:1], "labels": own["labels"][:1]}])
        assert parity.agreement == 1  # the order of equal scores is free
        assert parity.largest_difference < 1e-5


def test_torch_export_takes_an_ssd(run, folder, tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr(programs, "import_module", loaded.append)
    record = export_run(run, "torch", data=str(folder), out=tmp_path / "model")
    assert loaded == ["torchvision.ops"]  # the file calls its operators, which a fresh process does not know
    assert record.parity.agreement == 1
    assert record.parity.largest_difference == 0
    with pytest.raises(InputError, match="executorch has no suppression of overlapping boxes"):
        export_run(run, "executorch", data=str(folder), out=tmp_path / "model")


def test_the_record_of_an_export_says_how_it_was_checked(exported):
    parity = exported.parity
    assert (exported.split, parity.samples) == ("val", 3)
    assert parity.boxes >= 6
    assert parity.agreement == 1
    assert parity.map_before == pytest.approx(parity.map_after, abs=1e-6)
    assert exported.tolerance == FLOAT_BOXES
    assert ExportRecord.read(exported.path) == exported


def test_int8_changes_the_convolutions_only(run, exported, folder):
    import onnx

    loose = {"agreement": 0.0, "accuracy_drop": 1.0}
    record = export_run(run, data=str(folder), quantize="int8", calibration_samples=6, tolerance=loose)
    assert record.bytes < 0.5 * exported.bytes
    assert record.tolerance == Tolerance(None, 0.0, 1.0)
    model = onnx.load(record.path)
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    kinds = {node.op_type: {makers.get(name) for name in node.input[:2]} for node in model.graph.node}
    assert kinds["Conv"] == {"DequantizeLinear"}
    assert "NonMaxSuppression" in kinds
    assert open_session(record.path).info.quantize == "int8"


def test_a_file_that_differs_is_not_kept(run, folder, tmp_path, monkeypatch):
    from drkd.tasks.detection import deployed

    deploy = deployed.deploy_detector

    def shifted(detector):
        made = deploy(detector)
        monkeypatch.setattr(deployed, "deploy_detector", deploy)  # the network that it is compared with is as it was
        made.mean = made.mean + 0.2
        return made

    monkeypatch.setattr(deployed, "deploy_detector", shifted)
    with pytest.raises(ParityError, match=r"model.onnx is rejected: on 3 images "):
        export_run(run, data=str(folder), out=tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_draws_and_writes_tables(exported, folder, tmp_path, capsys):
    arguments = ("predict", exported.path, folder / "test" / "009.png", folder / "val", "--draw", tmp_path / "drawn")
    assert run_cli(*arguments, "--threshold", "0.4", "--out", tmp_path / "found.csv") == 0
    rows = list(csv.DictReader((tmp_path / "found.csv").read_text().splitlines()))
    assert list(rows[0]) == ["file", "label", "score", "x1", "y1", "x2", "y2"]
    assert all(float(row["score"]) >= 0.4 for row in rows)
    drawn = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert drawn == ["006.png", "007.png", "008.png", "009.png"]
    with Image.open(tmp_path / "drawn" / "009.png") as image, Image.open(folder / "test" / "009.png") as plain:
        assert image.size == plain.size
        assert np.asarray(image).tobytes() != np.asarray(plain).tobytes()
    for form, empty in (("csv", "file,label,score,x1,y1,x2,y2\n"), ("json", "[]\n"), ("coco", "[]\n")):
        capsys.readouterr()
        assert run_cli("predict", exported.path, folder / "val", "--threshold", "1", "--format", form) == 0
        said = capsys.readouterr()
        assert said.out == empty
        assert "drkd: no boxes in 3 images; a lower --threshold shows less certain ones\n" in said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--top", "2"], "detection takes no --top; leave it out"),
        (["--threshold", "1.5"], "--threshold should be less than or equal to 1, got 1.5"),
        (["--nms", "-1"], "--nms should be greater than or equal to 0, got -1.0"),
        (["--format", "xml"], "--format should be csv, json or coco, got 'xml'"),
        (["--draw", "FOLDER/val"], "--draw would replace"),
        (["FOLDER/twin", "--format", "coco"], "twin/006.png would both be 006.png; give one folder at a time"),
        (["FOLDER/twin/6.bmp", "--format", "coco"], "twin/6.bmp would both be the image 6; give one folder at a time"),
    ],
)
def test_what_cannot_be_answered_gets_one_line(exported, folder, capsys, arguments, words):
    (folder / "twin").mkdir(exist_ok=True)
    for name in ("006.png", "6.bmp"):
        (folder / "twin" / name).write_bytes((folder / "val" / "006.png").read_bytes())
    arguments = [each.replace("FOLDER", str(folder)) for each in arguments]
    assert run_cli("predict", exported.path, folder / "val", *arguments) == 2
    assert words in capsys.readouterr().err


def test_options_for_boxes_are_refused_where_images_are_named(tmp_path):
    with pytest.raises(InputError, match="classification takes no --nms; leave it out"):
        drkd.tasks.get_task().check_asked(Asked(boxes=BoxOptions(nms=0.5)), [])


def test_files_are_measured_one_image_at_a_time(run, exported):
    (found,) = bench_files([exported.path], calls=10, memory=False).files
    assert found.figures[0].p50_ms > 0
    with pytest.raises(InputError, match="takes 1 image per call; leave out --batch-sizes"):
        bench_files([exported.path], batch_sizes=[2], calls=10, memory=False)
