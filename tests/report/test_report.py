import errno
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

import drkd
from drkd import InputError
from drkd.report import print_results, write_report
from drkd.report.page import images_of_first_seed
from drkd.report.plots import read_curves
from drkd.report.table import columns_of, legend_of, rows, title
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
    assert "*: teacher outputs in some or all epochs came from a cache" in legend_of(get_task())


def test_headings_and_legend_belong_to_the_task():
    headings = ["Accuracy %", "vs cross-entropy [95%]", "p (Holm)", "NLL", "ECE %", "AURC e-3"]
    assert list(columns_of(get_task()).values())[1:7] == headings
    detection = get_task("detection")
    assert list(columns_of(detection).values())[1:6] == ["mAP %", *headings[1:3], "mAP50 %", "AR %"]
    assert "the teacher's mAP50 on the training data" in legend_of(detection)
    assert "the teacher's accuracy on the training data" in legend_of(get_task())


def test_printed_table_has_every_method_and_column(done, capsys):
    print_results(done.results, Console(width=200))
    text = capsys.readouterr().out
    assert all(heading in text for heading in columns_of(get_task()).values())
    assert len(re.findall(r"^ *Tf-KD_self  ", text, re.MULTILINE)) == 2
    assert text.count("No answer: 2 seeds are too few to show a difference.") == 2


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.cells, self.ids = [], 0, []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.links += [found[name] for name in ("src", "href", "xlink:href") if name in found]
        self.cells += tag == "td"
        self.ids += [found["id"]] if "id" in found else []


@pytest.fixture(scope="module")
def page(done):
    return write_report(done.out).read_text()


def test_page_stands_alone(page):
    reader = Reader()
    reader.feed(page)
    assert all(link.startswith(("#", "data:image/")) for link in reader.links)
    assert not re.search(r"url\((?!#)|@import|<script", page)
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.cells >= 2 * 5 * len(columns_of(get_task()))
    assert "label_noise" in page
    assert page.count("<svg") == 8
    for heading in ("Recall % by class", "Which classes are confused", "get wrong: their most confident mistakes"):
        assert page.count(heading) == 2


def test_plots_are_written_as_png_and_svg(done, page):
    names = {path.name for path in (done.out / "plots").iterdir()}
    kinds = ("accuracy", "learning", "reliability", "rectified")
    expected = [f"{kind}-{panel}" for kind in kinds for panel in ("clean-labels", "20%-label-noise")]
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
    with pytest.raises(InputError, match="neither a comparison"):
        write_report(tmp_path)


def test_a_plot_that_fails_costs_no_page(done, page, monkeypatch):
    from drkd.report import plots

    with monkeypatch.context() as patch:
        patch.setattr(plots, "draw_accuracy", None)
        with pytest.warns(UserWarning, match="the plot accuracy could not be drawn"):
            broken = write_report(done.out).read_text()
    assert broken.count("<svg") == page.count("<svg") - 2


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


def test_the_curves_of_a_training_that_diverged_are_left_out_without_a_word(done, tmp_path):
    out = shutil.copytree(done.out, tmp_path / "run")
    (out / "trainings" / "clean-labels" / "seed-1" / "dr_kd" / "summary.json").unlink()
    assert read_curves(done.results, out).keys() == read_curves(done.results, done.out).keys()


def test_cells_say_of_how_many_seeds_they_are():
    panel, differences = made_up([*BETTER[:4], None], ALIKE)
    row = rows(panel, differences)[-1]
    assert row["accuracy"] == "95.78 ± 1.00 (4 of 5 seeds)"
    assert row["difference"] == "+5.02 [+4.95, +5.10] (4 of 5 seeds)"
    assert "seeds" not in str(rows(panel, differences)[:-1])
    assert title(replace(panel, epochs=1)) == "d, p: m, 1 epoch, 5 seeds"


def test_images_of_cases_that_were_damaged_are_left_out(done, tmp_path):
    out = shutil.copytree(done.out, tmp_path / "run")
    panel = done.results.panels[0]
    trained = out / "trainings" / "clean-labels" / "seed-0"
    for method in ("dr_kd", "label_smoothing"):
        Image.new("RGB", (8, 8)).save(trained / method / "cases.png")
    found = images_of_first_seed(panel, out)
    assert [label for label, drawn in found.items() if drawn.cases] == ["Label smoothing", "DR-KD"]
    assert all(len(drawn.mistakes) == 12 for drawn in found.values())
    flip(trained / "dr_kd" / "cases.png")
    flip(trained / "tf_kd_self" / "mistakes.json")
    with (
        pytest.warns(UserWarning, match=r"dr_kd/cases\.png is damaged and skipped"),
        pytest.warns(UserWarning, match=r"tf_kd_self/mistakes\.json is damaged and left out"),
    ):
        found = images_of_first_seed(panel, out)
    assert not found["DR-KD"].cases
    assert "Tf-KD_self" not in found
