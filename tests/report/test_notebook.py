"""Results as notebooks and papers show them."""

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

import drkd
from drkd import InputError
from drkd.runs.results import ComparisonResults
from drkd.studies.comparison import Comparison
from drkd.studies.proposals import Trial
from drkd.studies.results import compare_methods
from drkd.studies.tuning import Tuned, TuneResults
from drkd.training.showing import MOST_EPOCHS
from drkd.utils.tables import as_frame, escape_latex
from panels import ALIKE, BETTER, made_up

SHOWN, PLAIN = "+5.02 [", "+0.00 ["


@pytest.fixture
def comparison(tmp_path):
    panel, _ = made_up(BETTER, ALIKE)
    panel.methods["own_method<1>"] = panel.methods["cross_entropy_2x"]
    return Comparison(
        ComparisonResults([panel], compare_methods(panel), {}, {"p, seed 1, a": "loss & <nan>"}), tmp_path
    )


@pytest.fixture
def tuned(tmp_path):
    trials = [
        Trial("ps_kd:alpha=0.5:lr=0.1", {}, [0.8, 0.9], 2.0, 0.9),
        Trial("dr_kd:rectify=drop:lr=0.3", {}, [0.2], 1.0),
        Trial("dr_kd:rectify=swap:lr=0.3", {}, [0.2, 0.95], 1.0, 0.95),
    ]
    return Tuned("x", TuneResults(0.1, 0.93, {"0.1": 0.93, "0.5": None}, "x", 0.95, trials, {}), tmp_path)


@pytest.fixture
def training():
    rows = [{"epoch": float(number), "lr": 0.1, "val_accuracy": number / 50} for number in range(50)]
    return drkd.TrainResult(rows, best_epoch=30, seconds=5.0, seconds_per_epoch=[0.1] * 50)


class Page(HTMLParser):
    """The cells of the tables; every tag is closed, in its order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.bold, self.text = [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.text += text
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += text
            if "b" in self.open:
                self.bold.append(text)


def cells(latex):
    """The rows of a `tabular` of LaTeX; its braces and its environment are closed."""
    plain = re.sub(r"\\[&%$#_{}]", "", latex)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    assert not re.search(r"[#_~^]", plain)
    (columns, body), *more = re.findall(r"\\begin\{tabular\}\{(l?r*)\}\n(.*?)\\end\{tabular\}", latex, re.DOTALL)
    assert not more
    rows = [line.removesuffix(r" \\").split(" & ") for line in body.splitlines() if line.endswith(r"\\")]
    assert {len(row) for row in rows} == {len(columns)}
    assert [line for line in body.splitlines() if not line.endswith(r"\\")] == [
        "\\toprule",
        "\\midrule",
        "\\bottomrule",
    ]
    return rows


def test_a_notebook_shows_the_table_and_its_sentences(comparison):
    page = Page(comparison._repr_html_())
    heading, *rows = page.rows
    assert heading == ["Method", "Accuracy %", "vs cross-entropy [95%]", "p (Holm)", "NLL", "ECE %", *heading[6:]]
    assert [row[0] for row in rows] == ["Cross-entropy", "Cross-entropy 2x", "Tf-KD_self", "DR-KD", "own_method<1>"]
    assert rows[3][1] == "95.82 ± 0.87"
    assert "DR-KD is more accurate than cross-entropy here: +5.02 points" in page.text
    assert "Yes: DR-KD is more accurate than cross-entropy here" in page.text
    assert "p, seed 1, a: loss & <nan>" in page.text


def test_what_is_printed_is_what_the_command_line_prints(comparison):
    text = str(comparison)
    assert repr(comparison) == text
    assert re.search(r"^ DR-KD +95\.82 ± 0\.87 +\+5\.02 ", text, re.M)
    assert "\nYes: DR-KD is more accurate than cross-entropy here" in text


def test_bold_is_what_the_test_shows_and_nothing_else(comparison):
    shown = {row.method for row in comparison.results.of(comparison.results.panels[0]).values() if row.p_holm < 0.05}
    assert shown == {"dr_kd"}
    (bold,) = Page(comparison._repr_html_()).bold
    assert bold.startswith(SHOWN)
    rows = {row[0]: row for row in cells(comparison.to_latex())}
    assert [name for name, row in rows.items() if "textbf" in "".join(row)] == ["DR-KD"]
    assert rows["DR-KD"][2].startswith(r"\textbf{$+$5.02 [$+$")


def test_latex_is_escaped(comparison):
    rows = cells(comparison.to_latex())
    assert rows[0] == ["Method", r"Accuracy \%", r"vs cross-entropy [95\%]", "p (Holm)", "Time x"]
    assert [row[0] for row in rows[3:]] == [r"Tf-KD\_self", "DR-KD", r"own\_method<1>"]
    assert rows[1][1] == r"90.80 $\pm$ 0.84"
    assert comparison.to_latex().startswith("% d, p: m, 3 epochs, 5 seeds; bold: p (Holm) below 0.05\n")
    assert escape_latex("a\\b~^{}#&%$_") == r"a\textbackslash{}b\textasciitilde{}\textasciicircum{}\{\}\#\&\%\$\_"


def test_a_search_shows_its_best_trials(tuned):
    rows = [
        ["cross_entropy:lr=0.1", "93.00", ""],
        ["dr_kd:rectify=swap:lr=0.3", "95.00", "+2.00"],
        ["ps_kd:alpha=0.5:lr=0.1", "90.00", "-3.00"],
    ]
    page = Page(tuned._repr_html_())
    assert page.rows[1:] == rows
    assert "3 trials (1 ended early). One seed, and the best of many" in page.text
    head, *lines, counts = str(tuned).splitlines()
    assert head.split("  ")[0] == "Trial"
    assert [line.split() for line in lines] == [[cell for cell in row if cell] for row in rows]
    assert counts.startswith("3 trials (1 ended early).")
    assert cells(tuned.to_latex())[2] == [r"dr\_kd:rectify=swap:lr=0.3", "95.00", "$+$2.00"]


def test_a_trial_shows_the_options_that_its_stage_tries(tuned):
    chosen = {"average": "ema"}
    averaged = Trial("cross_entropy:lr=0.1", {}, [0.94], 1.0, 0.94, stage="average", options=chosen)
    shown = replace(tuned, results=replace(tuned.results, trials=[averaged]))
    assert Page(shown._repr_html_()).rows[2] == ["cross_entropy:lr=0.1:average=ema", "94.00", "+1.00"]


def test_a_training_shows_some_epochs_and_the_selected_one(training):
    heading, *rows = Page(training._repr_html_()).rows
    assert heading == ["epoch", "lr", "val accuracy"]
    epochs = [int(row[0]) for row in rows]
    assert {0, 30, 49} <= set(epochs)
    assert MOST_EPOCHS <= len(epochs) <= MOST_EPOCHS + 1
    assert Page(training._repr_html_()).bold == ["30", "0.1", "0.6"]
    assert [row[0] for row in cells(training.to_latex())[1:]].count(r"\textbf{30}") == 1
    assert str(training).splitlines()[0] == "epoch   lr  val accuracy"
    assert str(training).endswith("\nEpoch 30 is selected. 50 epochs, 5.0 s")
    assert Page(drkd.TrainResult()._repr_html_()).text == str(drkd.TrainResult()).strip() == "0 epochs, 0.0 s"


def test_frames_have_a_row_for_each_thing_measured(comparison, tuned, training, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))
    del comparison.results.panels[0].methods["own_method<1>"]
    for method in comparison.results.panels[0].methods.values():
        method.test.update(balanced_accuracy=[None] * 5, macro_f1=[None] * 5)
    rows = comparison.to_frame()
    assert len(rows) == 4 * 5
    assert list(rows[-1])[:4] == ["panel", "method", "seed", "accuracy"]
    assert rows[-1] | {"method": "dr_kd", "seed": 4, "accuracy": BETTER[4], "train_seconds": 2.0} == rows[-1]
    assert [row["val_accuracy"] for row in tuned.to_frame()] == [0.93, None, 0.9, None, 0.95]
    assert tuned.to_frame()[3] | {"method": "dr_kd", "rectify": "drop", "lr": 0.3, "epochs": 1} == tuned.to_frame()[3]
    assert training.to_frame()[2] == {**training.history[2], "seconds": 0.1}


def test_a_frame_needs_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="to_frame needs pandas; install it"):
        as_frame([])
