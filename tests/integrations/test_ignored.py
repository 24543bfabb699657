"""Rows that do not count, in the means that other trainers keep: the mean over all other rows of an epoch is wanted."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

import drkd
from drkd.integrations.lightning import Distillation, Distilling
from drkd.integrations.skorch import Criterion, SelfDistillationClassifier

LABELS = torch.tensor([0, 7, 7, 7, 1, 2, 0, 1, 7, 7, 7, 7])
"""Three batches of four, in which one row counts, or four, or none; 7 is no class."""


def inputs():
    return torch.randn(len(LABELS), 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.. is deprecated")
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
@pytest.mark.parametrize("ignored", [-100, 7])
def test_lightning_logs_the_mean_over_the_rows_that_count(tmp_path, ignored):
    class Net(Distilling, LightningModule):
        def __init__(self):
            super().__init__()
            self.network = torch.nn.Linear(4, 3)

        def training_step(self, batch, batch_idx):
            return self.distil(self.network(batch[0]), batch[1], inputs=batch[0])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    quiet = dict.fromkeys(("enable_progress_bar", "enable_model_summary", "logger", "enable_checkpointing"), False)
    callbacks = [Distillation(drkd.cross_entropy(ignore_index=ignored))]
    made = Trainer(default_root_dir=tmp_path, max_epochs=1, callbacks=callbacks, accelerator="cpu", **quiet)
    labels, net = LABELS.where(LABELS != 7, ignored), Net()
    made.fit(net, DataLoader(TensorDataset(inputs(), labels), batch_size=4))
    wanted = F.cross_entropy(net.network(inputs()), labels, ignore_index=ignored).item()
    assert made.callback_metrics["train_loss"].item() == pytest.approx(wanted, abs=1e-6)


def test_skorchs_history_has_the_mean_over_the_rows_that_count():
    labels = LABELS.where(LABELS != 7, -100)
    settings = {"max_epochs": 1, "batch_size": 4, "lr": 0.0, "train_split": None, "verbose": 0}
    net = SelfDistillationClassifier(torch.nn.Linear(4, 3), criterion=Criterion(drkd.label_smoothing(0.1)), **settings)
    net.fit(inputs().numpy(), labels.numpy().astype(np.int64))
    wanted = 0.9 * F.cross_entropy(net.module_(inputs()), labels).item()
    assert net.history[-1, "train_ce"] == pytest.approx(wanted, abs=1e-6)
