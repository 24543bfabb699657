"""Distributions as labels in other people's trainers: timm's mixup, torchvision's, votes in a Trainer and in skorch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from timm.data.mixup import Mixup
from torch.utils.data import DataLoader, default_collate
from torchvision.transforms.v2 import CutMix, MixUp, RandomChoice

import drkd
from drkd.integrations.lightning import Distillation, Distilling
from drkd.integrations.skorch import Criterion, SelfDistillationClassifier
from drkd.integrations.timm import SelfDistillationTask
from drkd.integrations.transformers import SelfDistillationTrainer, loss
from trainers import arguments, image_rows, images, without_dropout

K = 3

pytestmark = [
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.. is deprecated"),
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
]


def small():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, K))


def cross_entropy(logits, probs):
    return -(probs * logits.log_softmax(1)).sum(1).mean()


def test_timms_mixup_passes_and_its_smoothing_names_no_class():
    torch.manual_seed(0)
    np.random.seed(0)
    teacher, student = small(), small()
    made = Mixup(mixup_alpha=1.0, cutmix_alpha=1.0, mode="elem", label_smoothing=0.1, num_classes=K)
    inputs, targets = made(torch.randn(8, 1, 4, 4), torch.arange(8) % K)
    logits, taught = student(inputs), teacher(inputs).detach()
    for row, target in zip(taught, targets, strict=True):  # at most two classes are named
        named = sorted((k for k in range(K) if target[k] > target.min()), key=lambda k: -target[k])
        for place, label in enumerate(named):
            left = [k for k in range(K) if k not in named[:place]]
            top = max(left, key=lambda k: row[k].item())
            if row[label] < row[top]:
                row[[label, top]] = row[[top, label]]
    expected = 0.4 * cross_entropy(logits, targets) + 0.6 * 4 * cross_entropy(logits / 2, (taught / 2).softmax(1))
    task = SelfDistillationTask(student, drkd.dr_kd(teacher, 0.6, 2.0), verbose=False)
    found = task(inputs, targets)
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert found["rectified"] > 0
    with torch.no_grad():
        assert task(inputs, targets)["loss"].item() == pytest.approx(cross_entropy(logits, targets).item(), rel=1e-5)


class Net(Distilling, LightningModule):
    def __init__(self):
        super().__init__()
        self.network, self.seen = small(), []

    def training_step(self, batch, batch_idx):
        inputs, labels = batch
        value = self.distil(self.network(inputs), labels, inputs=inputs)
        self.seen.append((labels, value.detach()))
        return value

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def test_torchvisions_mixup_and_cutmix_in_lightning(tmp_path):
    torch.manual_seed(0)
    mixed = RandomChoice([MixUp(alpha=0.5, num_classes=K), CutMix(num_classes=K)])
    rows = [(torch.randn(1, 4, 4), torch.tensor(number % K)) for number in range(12)]
    loader = DataLoader(rows, batch_size=4, collate_fn=lambda samples: mixed(default_collate(samples)))
    module = Net()
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    trainer = Trainer(
        default_root_dir=tmp_path,
        max_epochs=1,
        callbacks=[Distillation(drkd.dr_kd(small()))],
        enable_checkpointing=False,
        **quiet,
    )
    trainer.fit(module, loader)
    assert [labels.shape for labels, _ in module.seen] == [(4, K)] * 3
    mean = torch.stack([value for _, value in module.seen]).mean().item()
    assert trainer.callback_metrics["train_loss"].item() == pytest.approx(mean, rel=1e-5)


def test_votes_in_a_trainer_count_as_rows_do(tmp_path):
    torch.manual_seed(0)
    rows = image_rows(8)
    hard = [row["labels"] for row in rows]
    for row in rows:
        row["labels"] = F.one_hot(row["labels"], K).float()
    trained = []
    for given in (rows, [{**row, "labels": label} for row, label in zip(rows, hard, strict=True)]):
        torch.manual_seed(1)
        model = without_dropout(images())
        settings = arguments(tmp_path, gradient_accumulation_steps=2)
        trainer = SelfDistillationTrainer(model, settings, method=drkd.tf_kd_reg(), train_dataset=given)
        trainer.train()
        trained.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.allclose(*trained, atol=1e-6)


def test_votes_in_skorch():
    torch.manual_seed(0)
    inputs, votes = torch.randn(6, 16), torch.rand(6, K).softmax(1)
    net = SelfDistillationClassifier(
        torch.nn.Linear(16, K), criterion=Criterion(drkd.max_sup()), max_epochs=1, lr=0.0, verbose=0, train_split=None
    )
    net.fit(inputs.numpy(), votes.numpy())
    assert net.history[-1]["train_ce"] == pytest.approx(cross_entropy(net.module_(inputs), votes).item(), rel=1e-5)


def test_methods_that_remember_samples_want_to_know_what_was_mixed():
    logits, probs, index = torch.zeros(2, K, requires_grad=True), torch.eye(K)[:2], torch.tensor([0, 1])
    message = r"`ps_kd` remembers samples by their index, and labels float32 \(2, 3\) do not say .*MixedLabels"
    task = SelfDistillationTask(small(), drkd.ps_kd(), verbose=False)
    task.follow(torch.optim.SGD(task.parameters(), lr=0.1), epochs=1, updates_per_epoch=1)
    inputs = torch.zeros(2, 1, 4, 4)
    with pytest.raises(drkd.InputError, match=message):
        task(inputs, probs, index)
    assert task(inputs, drkd.MixedLabels(probs), index)["loss"].isfinite()
    remembering = loss(drkd.ols())
    remembering.use(drkd.ps_kd())
    remembering.attached = True
    with pytest.raises(drkd.InputError, match=message):
        remembering({"logits": logits}, probs, index=index)
