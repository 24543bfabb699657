"""DR-KD of a small network on a table, with skorch inside scikit-learn, offline: scikit-learn's wines.

python examples/skorch_wine.py
"""

import copy
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import drkd
from drkd.integrations.skorch import Criterion, SelfDistillationClassifier


def fitted(network: nn.Module, objective: drkd.Objective, rows: Any, labels: Any, epochs: int) -> Any:
    """A pipeline of scikit-learn around a copy of the network, trained with the objective."""
    torch.manual_seed(1)  # the same batches every time
    net = SelfDistillationClassifier(
        copy.deepcopy(network),
        criterion=Criterion(objective),
        max_epochs=epochs,
        batch_size=16,
        lr=0.05,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    return make_pipeline(StandardScaler(), net).fit(rows.astype(np.float32), labels)


def main(epochs: int = 20) -> dict[str, float]:
    """Train self-teacher and student, 20% of the training labels wrong; accuracies on the test rows."""
    rows, labels = load_wine(return_X_y=True)
    rows, test_rows, labels, test_labels = train_test_split(
        rows.astype(np.float32), labels, test_size=0.4, random_state=0, stratify=labels
    )
    wrong = np.random.default_rng(0).permutation(len(labels))[: len(labels) // 5]
    labels[wrong] = (labels[wrong] + 1) % 3
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
    self_teacher = fitted(network, drkd.cross_entropy(), rows, labels, epochs)
    student = fitted(network, drkd.dr_kd(self_teacher[-1].module_, alpha=0.5), rows, labels, epochs)
    found = {
        name: float(made.score(test_rows, test_labels))
        for name, made in (("self_teacher", self_teacher), ("student", student))
    }
    print(f"{len(labels)} wines to train: self-teacher {found['self_teacher']:.3f}, student {found['student']:.3f}")
    return found


if __name__ == "__main__":
    main()
