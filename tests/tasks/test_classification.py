"""What classification says of its metrics."""

import json

from drkd.runs.results import MethodResults
from drkd.tasks import get_task
from drkd.training.metrics import Metrics

TASK = get_task("classification")
OLD = {"accuracy": 0.5, "nll": 1.0, "ece": 0.1, "aurc": 0.2, "reliability": []}


def measured(classes):
    rows = {f"class {k}": {"samples": k, "precision": 0.25, "recall": 1.0, "f1": k / 100} for k in range(classes)}
    return Metrics(**OLD, balanced_accuracy=0.75, macro_f1=0.625, per_class=rows)


def test_a_line_for_each_class():
    heading, *lines = TASK.describe_classes(measured(3))
    assert heading.split() == ["class", "samples", "precision", "%", "recall", "%", "F1", "%"]
    assert [line.split() for line in lines][2] == ["class", "2", "2", "25.00", "100.00", "2.00"]
    assert len({len(line) for line in (heading, *lines)}) == 1


def test_of_many_classes_the_worst():
    _, *lines, more = TASK.describe_classes(measured(200))
    assert [line.split()[1] for line in lines] == [str(k) for k in range(30)]
    assert more.startswith("170 classes with a higher F1 are not shown")


def test_means_over_classes_come_last():
    described = TASK.describe_metrics(measured(3))
    assert described.endswith("AURC 200.00e-3, balanced accuracy 75.00%, macro F1 62.50%")


def test_what_older_versions_wrote_can_still_be_read():
    old = TASK.metrics_from_json(json.loads(json.dumps(OLD)))
    assert TASK.describe_metrics(old) == "accuracy 50.00%, NLL 1.0000, ECE 10.00%, AURC 200.00e-3"
    assert TASK.describe_classes(old) == []
    nested = ("test", "val", "details", "teacher_train")
    plain = {name: [None] for name in MethodResults.__dataclass_fields__ if name not in nested}
    content = {**{name: [0.5] for name in ("accuracy", "nll", "ece", "aurc", "reliability")}, **plain}
    content |= {"val_accuracy": [0.5], "val_nll": [0.5], "teacher_train_accuracy": [None]}
    assert list(MethodResults.from_json(content, TASK).test) == ["accuracy", "nll", "ece", "aurc"]
