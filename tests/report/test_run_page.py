"""The page of one training."""

import json
from html.parser import HTMLParser

import pytest

from drkd.report import write_run_report
from drkd.runs.summary import RunSummary
from image_files import run_cli, write_set


class Checker(HTMLParser):
    """Every element that needs an end has one, in order."""

    EMPTY = ("meta", "img", "br", "wbr", "use", "path")

    def __init__(self):
        super().__init__()
        self.open, self.text, self.images = [], "", []

    def handle_starttag(self, tag, attributes):
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.images += [dict(attributes)["src"]] if tag == "img" else []

    def handle_startendtag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes)["src"])

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def checked(page):
    checker = Checker()
    checker.feed(page.read_text())
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    options = ("--method", "online_dr_kd", "--epochs", "2", "--limit-train", "60", "--model", "mlp")
    assert run_cli("train", *options, "--out", out) == 0
    return out


def test_report_names_the_page_of_a_training(run, capsys):
    assert run_cli("report", run) == 0
    assert capsys.readouterr().out.endswith(f"Report: {run / 'report.html'}\n")
    page = checked(run / "report.html")
    test = RunSummary.read(run).test
    assert f"Online DR-KD: {100 * test.accuracy:.2f}% accuracy on the test split" in page.text
    assert "mlp on digits (60 for training, 144 for validation, 360 for testing), 2 epochs, seed 0" in page.text
    first = test.mistakes[0]
    assert f"{first['label']} predicted as {first['predicted']}, {100 * first['probability']:.1f}%" in page.text
    assert len(page.images) == 12
    assert all(image.startswith("data:image/png;base64,") for image in page.images)
    assert {file.stem for file in (run / "plots").iterdir()} == {"learning", "loss", "reliability", "rectified"}


def test_a_page_of_one_epoch_without_validation_has_no_curve(tmp_path, run):
    out = tmp_path / "out"
    options = ("--method", "cross_entropy", "--epochs", "1", "--limit-train", "60", "--validation", "0")
    assert run_cli("train", *options, "--out", out) == 0
    page = checked(write_run_report(out))
    assert [file.name for file in sorted((out / "plots").iterdir())] == ["reliability.png", "reliability.svg"]
    assert "validation" not in page.text.split("Settings")[0].replace("Note: ", "").lower()


@pytest.mark.filterwarnings("ignore:the epoch is chosen on")
def test_names_of_images_and_classes_cannot_steer_the_page(tmp_path):
    data = write_set(tmp_path / "data")
    for split in ("train", "val", "test"):
        (data / split / "cat").rename(data / split / "<script>_'&x")
        (data / split / "dog" / "0.png").rename(data / split / "dog" / '"><b>.png')
    out = tmp_path / "out"
    options = ("--method", "cross_entropy", "--epochs", "1", "--lr", "1e-6", "--augment", "none")
    assert run_cli("train", "--data", data, *options, "--model", "mlp", "--out", out) == 0
    page = write_run_report(out)
    assert "<script>" not in page.read_text()
    found = json.loads((out / "mistakes.json").read_text())["mistakes"]
    assert checked(page).text.count("predicted as") >= len(found) > 0
    assert all(each["file"].endswith(".png") for each in found)
