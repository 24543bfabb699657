"""A plot has something in it, or it is not there."""

import numpy as np
import pytest

from drkd.report import plots
from drkd.report.figures import add_legend, inline, new_figure, save
from panels import ALIKE, BETTER, made_up


def drawn(draw):
    """(whether something was drawn, the axes)."""
    figure, axes = new_figure()
    found = draw(axes)
    figure.draw_without_rendering()
    return found, axes


def ticks(axis):
    low, high = sorted(axis.get_view_interval())
    return [
        label.get_text()
        for label in axis.get_ticklabels()
        if low <= label.get_position()[axis.axis_name == "y"] <= high
    ]


def bars_of(axes):
    return [line.get_xdata() for line in axes.lines if len(set(line.get_ydata())) == 1]


def test_no_method_has_the_points_of_another():
    panel, _ = made_up(BETTER, ALIKE)
    found, axes = drawn(lambda axes: plots.draw_accuracy(axes, panel))
    assert found
    assert ticks(axes.yaxis) == ["Cross-entropy", "Cross-entropy 2x", "Tf-KD_self", "DR-KD"]
    assert axes.yaxis_inverted()
    assert bars_of(axes)[-1] == pytest.approx([95.82 - 0.06, 95.82 + 0.06], abs=0.005)
    panel, _ = made_up([*BETTER[:4], None], ALIKE)  # its interval would be of other seeds than its mean
    assert len(bars_of(drawn(lambda axes: plots.draw_accuracy(axes, panel))[1])) == len(bars_of(axes)) - 1


def test_failed_methods_have_no_row_and_one_method_no_plot():
    panel, _ = made_up([None] * 5, ALIKE)
    assert ticks(drawn(lambda axes: plots.draw_accuracy(axes, panel))[1].yaxis)[-1] == "Tf-KD_self"
    panel, _ = made_up([None] * 5, [None] * 5, control=[None] * 5)
    assert not drawn(lambda axes: plots.draw_accuracy(axes, panel))[0]


def test_equal_accuracies_have_ticks_in_whole_figures():
    equal = [0.9876] * 5
    panel, _ = made_up(equal, equal, control=equal)
    panel.methods["cross_entropy"].test["accuracy"][:] = equal
    shown = ticks(drawn(lambda axes: plots.draw_accuracy(axes, panel))[1].xaxis)
    assert shown[0] == "98.4"
    assert shown[-1] == "99.2"


@pytest.mark.parametrize("epochs", [2, 3, 7, 40])
def test_epochs_are_whole(epochs):
    lines = [("DR-KD", None, np.linspace(0.5, 0.9, epochs), 1.0), ("2x", None, np.linspace(0.5, 0.9, 2 * epochs), 0.5)]
    found, axes = drawn(lambda axes: plots.draw_curves(axes, lines, "accuracy %"))
    assert found
    assert all(float(tick).is_integer() and 1 <= float(tick) <= epochs for tick in ticks(axes.xaxis))
    assert not axes.yaxis_inverted()


@pytest.mark.parametrize("curve", [[], [0.9]])
def test_less_than_two_epochs_are_no_curve(curve):
    """Of nothing there was a plot whose axis ran from 98 down to 1."""
    assert not drawn(lambda axes: plots.draw_curves(axes, [("DR-KD", None, np.array(curve), 1.0)], "accuracy %"))[0]


@pytest.mark.parametrize("rectified", [0.0, None])
def test_nothing_rectified_is_no_plot(rectified):
    panel, _ = made_up(BETTER, ALIKE, rectified=rectified)
    assert not drawn(lambda axes: plots.draw_rectified(axes, panel))[0]
    assert not drawn(lambda axes: plots.draw_reliability(axes, panel))[0]


def test_a_plot_that_became_empty_is_removed(tmp_path):
    (tmp_path / "old.png").touch()
    assert plots.draw_each({"old": lambda axes: False}, tmp_path) == {}
    assert not list(tmp_path.iterdir())


def test_plots_take_the_colours_of_the_page(tmp_path):
    figure, axes = new_figure()
    axes.plot([1, 2], [3, 4], color="#d55e00", label="a name that is longer than its column")
    add_legend(figure, axes, 1)
    svg = inline(save(figure, tmp_path / "plot"), "mine")
    assert "color-mix(in srgb, #d55e00, white var(--lift))" in svg
    assert "currentColor" in svg
    assert not {"#ffffff", "#000000", "<metadata", "<?xml"} & {
        each for each in ("#ffffff", "#000000", "<metadata", "<?xml") if each in svg
    }
    assert 'id="mine-' in svg
