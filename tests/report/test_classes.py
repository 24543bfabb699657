"""Each class, and which is taken for which."""

import pytest

from drkd.report.classes import class_table, columns_by_class, confusion_of, confusions
from drkd.tasks import get_task
from panels import ALIKE, BETTER, made_up


def row(samples, recall, precision=0.5):
    return {"samples": samples, "precision": precision, "recall": recall, "f1": 0.25}


def with_classes(count, dr_kd=BETTER):
    """Class k has a recall of k percent with cross-entropy, a percent more with each further method; seed 1 failed."""
    panel, _ = made_up(dr_kd, ALIKE)
    for number, results in enumerate(panel.methods.values()):
        seed = {f"c{k}": row(10 + k, (k + number) / 100) for k in range(count)}
        results.details["per_class"] = [seed, None, *[{"c2": row(12, 0.0)}] * 3]
        results.details["confused"] = [{"c0": {"c1": 3}, "c2": {"c0": 1}}, None, *[{"c2": {"c1": 2}}] * 3]
    return panel


def test_few_classes_keep_their_order():
    table = class_table(with_classes(3))
    assert table.heading == "Recall % by class"
    assert table.columns == ["Cross-entropy", "Cross-entropy 2x", "Tf-KD_self", "DR-KD"]
    assert [(each.name, each.count) for each in table.rows] == [("c0", 10), ("c1", 11), ("c2", 12)]
    assert table.rows[1].values == pytest.approx([0.01, 0.02, 0.03, 0.04])
    assert table.rows[2].values == pytest.approx([0.02 / 4, 0.03 / 4, 0.04 / 4, 0.05 / 4])


def test_all_of_many_classes_are_there_the_worst_first():
    table = class_table(with_classes(100))
    assert table.heading == "Recall % by class, lowest first"
    assert [each.name for each in table.rows[:4]] == ["c2", "c0", "c1", "c3"]
    assert len(table.rows) == 100


def test_nothing_is_shown_of_unknown_classes():
    panel, _ = made_up(BETTER, ALIKE)
    assert class_table(panel) is None
    assert confusions(panel) == []
    assert columns_by_class(panel.methods["dr_kd"], get_task().class_metric) is None


def test_one_method_has_a_column_per_figure():
    table = columns_by_class(with_classes(3).methods["cross_entropy"], get_task().class_metric)
    assert table.columns == ["F1 %", "Precision %", "Recall %"]
    assert table.rows[1].values == pytest.approx([0.25, 0.5, 0.01])


def test_a_matrix_is_in_percent_of_each_class():
    """Of c2, whose samples are counted in four seeds: 1 is taken for c0, 6 for c1, 41 of 48 are found."""
    found = confusion_of("DR-KD", with_classes(3).methods["dr_kd"])
    assert found.classes == ["c0", "c1", "c2"]
    assert found.percent[0] == pytest.approx([70, 30, 0])
    assert found.percent[1] == pytest.approx([0, 100, 0])
    assert found.percent[2] == pytest.approx([100 / 48, 600 / 48, 4100 / 48])
    assert not found.pairs


def test_many_classes_have_a_list_of_pairs():
    found = confusion_of("DR-KD", with_classes(21).methods["dr_kd"])
    assert not found.classes
    assert found.pairs == [("c2", "c1", 6, 48), ("c0", "c1", 3, 10), ("c2", "c0", 1, 48)]


def test_cross_entropy_is_shown_beside_the_first_method_that_failed_nowhere():
    assert [each.method for each in confusions(with_classes(3))] == ["Cross-entropy", "DR-KD"]
    failed = with_classes(3, dr_kd=[*BETTER[:4], None])
    assert [each.method for each in confusions(failed)] == ["Cross-entropy", "Tf-KD_self"]
