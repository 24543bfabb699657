import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console

import drkd
from drkd import InputError
from drkd.report import print_results, write_report
from drkd.report.sentences import conclusions
from drkd.report.table import columns_of, legend_of, rows
from drkd.runs.results import ComparisonResults, MethodResults, Panel
from drkd.studies.results import compare_with_baseline
from drkd.tasks import get_task


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "run"
    methods = ["label_smoothing", "tf_kd_self", "dr_kd"]
    return drkd.compare(methods=methods, epochs=3, limit_train=100, seeds=2, label_noise=[0, 0.2], jobs=1, out=str(out))


def made_up(dr_kd, tf_kd_self, *, rectified=0.05, label_noise=0.0):
    """A panel of five seeds with the given accuracies, and its differences to cross-entropy."""

    def results(accuracy, fraction=None, teacher_seconds=0.0):
        return MethodResults(
            test={"accuracy": accuracy, "nll": [0.5] * 5, "ece": [0.1] * 5, "aurc": [0.05] * 5},
            val={"accuracy": [0.9] * 5, "nll": [0.5] * 5},
            details={"reliability": [[]] * 5},
            train_accuracy=[0.9] * 5,
            rectified_fraction=[fraction] * 5,
            rectified_fraction_per_epoch=[None if fraction is None else [fraction] * 3] * 5,
            teacher_train={"accuracy": [0.95] * 5},
            train_seconds=[2.0] * 5,
            teacher_seconds=[teacher_seconds] * 5,
            skipped_images=[{}] * 5,
            notes=[[]] * 5,
        )

    panel = Panel(
        name="p",
        task="classification",
        data="d",
        model="m",
        epochs=3,
        label_noise=label_noise,
        limit_train=None,
        chosen_on_validation=True,
        costs_double=["tf_kd_self", "dr_kd"],
        seeds=list(range(5)),
        methods={
            "cross_entropy": results([0.90, 0.91, 0.92, 0.90, 0.91]),
            "cross_entropy_2x": results([0.91, 0.92, 0.93, 0.92, 0.91]),
            "tf_kd_self": results(tf_kd_self, teacher_seconds=2.0),
            "dr_kd": results(dr_kd, rectified, teacher_seconds=2.0),
        },
    )
    return panel, ComparisonResults([panel], compare_with_baseline(panel), {}).of(panel)


BETTER = [0.95, 0.96, 0.971, 0.95, 0.96]
ALIKE = [0.90, 0.91, 0.93, 0.89, 0.91]


def test_sentences_say_what_is_shown():
    text = " ".join(conclusions(*made_up(BETTER, ALIKE)))
    assert "dr_kd is more accurate than cross_entropy here: +5.02 points" in text
    assert "No difference in accuracy to cross_entropy is shown for" in text
    assert "tf_kd_self (+0.00)" in text
    assert "Rectifying 5.0% of the targets helped" in text
    assert "dr_kd beats cross-entropy" in text


def test_sentences_say_when_rectifying_hurts():
    text = " ".join(conclusions(*made_up(ALIKE, BETTER, label_noise=0.2)))
    assert "Rectifying 5.0% of the targets hurt" in text
    assert "20% of the labels wrong" in text


def test_sentences_say_when_there_is_nothing_to_rectify():
    text = " ".join(conclusions(*made_up(ALIKE, ALIKE, rectified=0.0)))
    assert "DR-KD equals Tf-KD_self here: the self-teacher is right on 100% of the training data" in text


def test_sentences_do_not_conclude_from_one_seed():
    panel, differences = made_up(BETTER, ALIKE)
    alone = {name: replace(each, seeds=1) for name, each in differences.items()}
    assert conclusions(replace(panel, seeds=[0]), alone) == [
        "One seed shows no difference between methods: run at least 5 (--seeds 5)."
    ]


def test_sentences_count_failures():
    panel, differences = made_up([*BETTER[:4], None], ALIKE)
    assert conclusions(panel, differences)[0] == "dr_kd failed on 1 of 5 seeds."


def test_table_by_hand():
    row = next(r for r in rows(*made_up(BETTER, ALIKE)) if r["method"] == "DR-KD")
    assert row["accuracy"] == "95.82 ± 0.87"
    assert row["difference"].startswith("+5.02 [")
    assert row["rectified"] == "5.0 to 5.0"
    assert row["teacher"] == "95.0"
    assert row["time"] == "1.00 + 1.00"


def test_headings_and_legend_belong_to_the_task():
    headings = ["Accuracy %", "vs cross-entropy [95%]", "p (Holm)", "NLL", "ECE %", "AURC e-3"]
    assert list(columns_of(get_task()).values())[1:7] == headings
    detection = get_task("detection")
    assert list(columns_of(detection).values())[1:6] == ["mAP %", *headings[1:3], "mAP50 %", "AR %"]
    assert "the self-teacher's mAP50 on the training data" in legend_of(detection)
    assert "the self-teacher's accuracy on the training data" in legend_of(get_task())


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
    assert "label_noise" in text
    assert text.count("<svg") == 4


def test_plots_are_written_as_png_and_svg(done):
    write_report(done.out)
    names = {path.name for path in (done.out / "plots").iterdir()}
    expected = ("accuracy", "learning", "reliability", "rectified")
    assert names == {f"{name}.{kind}" for name in expected for kind in ("png", "svg")}
    assert all((done.out / "plots" / name).read_bytes()[:4] == b"\x89PNG" for name in names if name.endswith("png"))


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
