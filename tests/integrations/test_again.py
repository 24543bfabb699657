"""An objective that was used before begins each framework's training anew."""

import copy
from types import SimpleNamespace

import numpy as np
import torch

import drkd
from drkd.integrations.lightning import Distillation
from drkd.integrations.skorch import Criterion, SelfDistillationClassifier
from drkd.integrations.timm import SelfDistillationTask
from drkd.integrations.transformers import Loss


def used():
    """One that remembers four samples."""
    objective = drkd.ps_kd(epochs=4)
    objective(torch.randn(4, 3), torch.arange(4) % 3, index=torch.arange(4))
    objective.update(progress=0.5, epoch=2)
    return objective


def remembered(objective):
    return int(objective.terms[1].target.seen.sum()), objective.epoch


def test_lightning_resets_at_the_start_and_not_in_the_middle():
    objective = used()
    callback, module = Distillation(objective), SimpleNamespace(device=torch.device("cpu"))
    for step, stage, left in ((7, "fit", (4, 2)), (0, "validate", (4, 2)), (0, "fit", (0, 0))):
        callback.setup(SimpleNamespace(global_step=step), module, stage)
        assert remembered(objective) == left


def test_a_trainer_resets_at_the_start():
    objective = used()
    Loss(objective).on_train_begin(SimpleNamespace(device="cpu"), SimpleNamespace(global_step=0), None)
    assert remembered(objective) == (0, 0)


def test_a_task_of_timm_resets():
    objective = used()
    SelfDistillationTask(torch.nn.Linear(4, 3), objective, verbose=False)
    assert remembered(objective) == (0, 0)


def test_skorch_resets_where_it_fits_anew():
    objective, module = drkd.ps_kd(), torch.nn.Linear(4, 3)
    inputs, labels = torch.randn(12, 4).numpy(), np.arange(12) % 3

    def fitted(objective, rows):
        torch.manual_seed(0)
        settings = {"max_epochs": 3, "batch_size": 4, "lr": 0.1, "train_split": None, "verbose": 0}
        net = SelfDistillationClassifier(copy.deepcopy(module), criterion=Criterion(objective), **settings)
        net.fit({"inputs": inputs[rows], "index": np.arange(len(rows))}, labels[rows])
        return net.history[:, "train_loss"]

    fitted(objective, np.arange(8))
    assert fitted(objective, np.arange(4, 12)) == fitted(drkd.ps_kd(), np.arange(4, 12))
