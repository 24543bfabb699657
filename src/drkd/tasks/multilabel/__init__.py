"""Images of which several classes are true at once: a yes or no per class, each of them a softmax over two classes.

    data = drkd.tasks.multilabel.load_multilabel("FOLDER")
    drkd.fit(student, drkd.dr_kd(PerClass(teacher)), data, epochs=30)

`sigmoid(z)` is the second entry of `softmax([0, z])`, so every method holds per class as it stands: the label term is
the binary cross-entropy, a soft target softens each sigmoid, and `swap` exchanges "yes" and "no" where the teacher is
wrong about a class.

reading.py     what a folder of CSV or Parquet files says
data.py        folders into splits
learning.py    networks as teachers, and what `drkd.fit` needs to know
metrics.py     mean average precision, accuracy, F1
task.py        multi-label classification as a task of runs and commands
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drkd.tasks.multilabel.data import MultiLabelData as MultiLabelData
    from drkd.tasks.multilabel.data import load_multilabel as load_multilabel
    from drkd.tasks.multilabel.learning import PerClass as PerClass
    from drkd.tasks.multilabel.metrics import MultiLabelMetrics as MultiLabelMetrics
    from drkd.tasks.multilabel.metrics import evaluate_multilabel as evaluate_multilabel

_HOME_OF = {
    "MultiLabelData": "data",
    "MultiLabelMetrics": "metrics",
    "PerClass": "learning",
    "evaluate_multilabel": "metrics",
    "load_multilabel": "data",
}

__all__ = list(_HOME_OF)  # each is imported above for type checkers


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
