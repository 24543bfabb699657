import errno
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

import drkd
from drkd import InputError
from drkd.report import print_results, write_report
from drkd.report.page import _cases
from drkd.report.plots import read_curves
from drkd.report.table import classes_of, columns_of, legend_of, rows
from drkd.tasks import get_task
from image_files import run_cli
from panels import ALIKE, BETTER, made_up
from spoiling import flip


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "run"
    methods = ["label_smoothing", "tf_kd_self", "dr_kd"]
    return drkd.compare(methods=methods, epochs=3, limit_train=100, seeds=2, label_noise=[0, 0.2], jobs=1, out=str(out))


def test_table_by_hand():
    row = next(r for r in rows(*made_up(BETTER, ALIKE)) if r["method"] == "DR-KD")
    assert row["accuracy"] == "95.82 ± 0.87"
    assert row["difference"].startswith("+5.02 [")
    assert row["rectified"] == "5.0 to 5.0"
    assert row["teacher"] == "95.0"
    assert row["time"] == "1.00 + 1.00"


def test_time_is_paired_by_seed_and_covers_all_epochs():
    """A ratio of means would be 0.46 for DR-KD: the machine was slow while one seed of cross-entropy was trained."""
    panel, differences = made_up(BETTER, ALIKE)
    seconds = {"cross_entropy": [1.0, 1.0, 10.0, 1.0, None], "cross_entropy_2x": [1.0] * 5, "dr_kd": [1.5] * 5}
    for name, values in seconds.items():
        panel.methods[name].seconds_per_epoch[:] = values
    panel.methods["dr_kd"].teacher_cached[:] = [0.0, 0.5, None, 1.0, None]
    times = [row["time"] for row in rows(panel, differences)]
    assert times == ["1.00", "2.00", "2.00 + 1.00", "1.50* + 1.00"]
    assert "*: the teacher's answers in some or all epochs came from a cache" in legend_of(get_task())


def test_headings_and_legend_belong_to_the_task():
    headings = ["Accuracy %", "vs cross-entropy [95%]", "p (Holm)", "NLL", "ECE %", "AURC e-3"]
    assert list(columns_of(get_task()).values())[1:7] == headings
    detection = get_task("detection")
    assert list(columns_of(detection).values())[1:6] == ["mAP %", *headings[1:3], "mAP50 %", "AR %"]
    assert "the self-teacher's mAP50 on the training data" in legend_of(detection)
    assert "the self-teacher's accuracy on the training data" in legend_of(get_task())


def test_classes_are_few_enough_to_be_read():
    panel, _ = made_up(BETTER, ALIKE)
    assert classes_of(panel) == []
    for number, results in enumerate(panel.methods.values()):
        seeds = [{f"c{k}": {"recall": (k + number) / 100} for k in range(30)}, None, *[{"c7": {"recall": 0.0}}] * 3]
        results.details["per_class"] = seeds
    heading, *lines = classes_of(panel)
    assert heading[:3] == ["Recall % by class, the 20 lowest of 30", "c0", "c7"]
    assert {len(line) for line in (heading, *lines)} == {21}
    assert lines[2][:2] == ["Tf-KD_self", "2.0"]
    assert lines[2][heading.index("c7")] == "2.2"


def test_printed_table_has_every_method_and_column(done, capsys):
    print_results(done.results, Console(width=200))
    text = capsys.readouterr().out
    assert all(heading in text for heading in columns_of(get_task()).values())
    assert text.count("Tf-KD_self") == 2


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.cells, self.ids = [], 0, []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.links += [found[name] for name in ("src", "href", "xlink:href") if name in found]
        self.cells += tag == "td"
        self.ids += [found["id"]] if "id" in found else []


def test_page_stands_alone(done):
    page = write_report(done.out)
    text = page.read_text()
    reader = Reader()
    reader.feed(text)
    assert all(link.startswith("#") for link in reader.links)
    assert not re.search(r"url\((?!#)|@import|<script", text)
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.cells >= 2 * 5 * len(columns_of(get_task()))
    assert text.count("Recall % by class") == 2
    assert "label_noise" in text
    assert text.count("<svg") == 4


def test_plots_are_written_as_png_and_svg(done):
    write_report(done.out)
    names = {path.name for path in (done.out / "plots").iterdir()}
    expected = ("accuracy", "learning", "reliability", "rectified")
    assert names == {f"{name}.{kind}" for name in expected for kind in ("png", "svg")}
    assert all((done.out / "plots" / name).read_bytes()[:4] == b"\x89PNG" for name in names if name.endswith("png"))


@pytest.mark.parametrize("name", ["plots", "report.html"])
def test_a_report_that_cannot_be_written_is_one_line(done, tmp_path, name, capsys):
    """Root may write anywhere; where something else lies in the way even root may not."""
    copy = tmp_path / "run"
    shutil.copytree(done.out, copy, ignore=shutil.ignore_patterns("plots", "report.html"))
    (copy / name).mkdir() if name == "report.html" else (copy / name).touch()
    before = (copy / "results.json").read_bytes()
    assert run_cli("report", copy) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("drkd: cannot ")
    assert str(copy / name) in line
    assert (copy / "results.json").read_bytes() == before


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_is_read_only_is_named(done, tmp_path, monkeypatch, capsys, number):
    shutil.copytree(done.out, tmp_path / "run", ignore=shutil.ignore_patterns("plots"))
    make = Path.mkdir

    def mkdir(path, *args, **options):
        if tmp_path in path.parents:
            raise OSError(number, os.strerror(number), str(path))
        make(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert run_cli("report", tmp_path / "run") == 1
    told = capsys.readouterr().err
    assert told == f"drkd: cannot use {tmp_path / 'run' / 'plots'}: {os.strerror(number)}; " + (
        "check that it exists and its permissions\n"
    )


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(InputError, match="no finished comparison"):
        write_report(tmp_path)


def test_a_plot_that_fails_costs_no_page(done, monkeypatch):
    from drkd.report import plots

    with monkeypatch.context() as patch:
        patch.setattr(plots, "_accuracy", None)
        with pytest.warns(UserWarning, match="the plot accuracy could not be drawn"):
            page = write_report(done.out).read_text()
    assert page.count("<svg") == 3
    assert write_report(done.out).read_text().count("<svg") == 4


def test_metrics_that_were_changed_are_left_out_of_the_curves(done, tmp_path):
    out = shutil.copytree(done.out, tmp_path / "run")
    before = read_curves(done.results, out)
    file = out / "trainings" / "clean-labels" / "seed-1" / "dr_kd" / "metrics.csv"
    file.write_text(file.read_text().replace("0.", "1.", 1))
    with pytest.warns(
        UserWarning, match=r"dr_kd/metrics\.csv is damaged and left out of the curves: its content is not"
    ):
        after = read_curves(done.results, out)
    assert before.keys() == after.keys()
    assert [key for key in before if (before[key] != after[key]).any()] == [("clean labels", "dr_kd")]


def test_images_of_cases_that_were_damaged_are_left_out(done, tmp_path):
    out = shutil.copytree(done.out, tmp_path / "run")
    panel = done.results.panels[0]
    for method in ("dr_kd", "label_smoothing"):
        Image.new("RGB", (8, 8)).save(out / "trainings" / "clean-labels" / "seed-0" / method / "cases.png")
    assert set(_cases(panel, out)) == {"DR-KD", "Label smoothing"}
    flip(out / "trainings" / "clean-labels" / "seed-0" / "dr_kd" / "cases.png")
    with pytest.warns(UserWarning, match=r"dr_kd/cases\.png is damaged and left out"):
        assert set(_cases(panel, out)) == {"Label smoothing"}
