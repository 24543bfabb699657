"""Lightning against our own loop: the same loss and gradients on the batches that it served."""

import copy
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

import drkd
from drkd.integrations import Indexed
from drkd.integrations.lightning import Distillation, Distilling, self_distill

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = [  # Lightning's own advice, and a name of torch's that it still uses
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.. is deprecated"),
    pytest.mark.filterwarnings("ignore:The '(train|val)_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]


class Net(Distilling, LightningModule):
    def __init__(self, lr=0.1, momentum=0.0):
        super().__init__()
        self.network = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 3)
        )
        self.lr, self.momentum = lr, momentum
        self.batches, self.losses, self.gradients = [], [], []

    def forward(self, inputs):
        return self.network(inputs)

    def training_step(self, batch, batch_idx):
        self.batches.append(batch)
        inputs, labels, index = batch
        loss = self.distil(self(inputs), labels, inputs=inputs, index=index)
        self.losses.append(loss.detach())
        return loss

    def on_before_optimizer_step(self, optimizer):
        self.gradients.append([p.grad.clone() for p in self.network.parameters() if p.grad is not None])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=self.momentum)


class Validated(Net):
    def validation_step(self, batch, batch_idx):
        inputs, labels = batch
        self.log("val_loss", self.distil(self(inputs), labels), batch_size=len(labels))


def samples(count=12):
    return Indexed(TensorDataset(torch.randn(count, 1, 4, 4), torch.arange(count) % 3))


def trainer(folder, *callbacks, epochs=2, **others):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    if not any(isinstance(callback, ModelCheckpoint) for callback in callbacks):
        quiet["enable_checkpointing"] = False
    return Trainer(default_root_dir=folder, max_epochs=epochs, callbacks=list(callbacks), **(quiet | others))


def largest(first, second):
    return max((a - b).abs().max().item() for a, b in zip(first, second, strict=True))


METHODS = {
    "dr_kd": lambda student, teacher: drkd.dr_kd(teacher, alpha=0.5, temperature=2.0),
    "ema": lambda student, teacher: drkd.online_dr_kd(source=drkd.Ema(student)),
    "ps_kd": lambda student, teacher: drkd.ps_kd(),
    "ols": lambda student, teacher: drkd.ols(),
}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_each_step_has_the_loss_and_gradients_of_our_own_loop(tmp_path, method, accumulate):
    module, teacher = Net(), Net().network
    ours = copy.deepcopy(module.network)
    loader = DataLoader(samples(), batch_size=3, shuffle=True)
    callback = Distillation(METHODS[method](module.network, teacher))
    made = trainer(tmp_path, callback, accumulate_grad_batches=accumulate)
    torch.manual_seed(7)
    made.fit(module, loader)

    torch.manual_seed(7)
    objective = METHODS[method](ours, teacher)
    losses, gradients = [], []
    ours.train()
    for epoch in range(2):
        for number, (inputs, labels, index) in enumerate(loader):
            assert torch.equal(inputs, module.batches[len(losses)][0])
            if number % accumulate == 0:
                ours.zero_grad()
            made_here = objective(ours(inputs), labels, inputs=inputs, index=index)
            (made_here["loss"] / accumulate).backward()
            losses.append(made_here["loss"].detach())
            if (number + 1) % accumulate == 0:
                gradients.append([p.grad.clone() for p in ours.parameters()])
                with torch.no_grad():
                    for parameter in ours.parameters():
                        parameter.sub_(0.1 * parameter.grad)
                step = len(gradients)
                objective.update(progress=step * accumulate / 8, epoch=epoch + (number + 1) // 4)
    off = max(largest(*pair) for pair in zip(module.gradients, gradients, strict=True))
    print(f"{method}: losses {largest(module.losses, losses):.0e}, gradients {off:.0e}")
    assert largest(module.losses, losses) < 1e-6
    assert off < 1e-6
    assert largest(module.network.parameters(), ours.parameters()) < 1e-6
    assert (callback.objective.progress, callback.objective.epoch) == (1.0, 2)
    assert made.callback_metrics["train_loss"] == pytest.approx(torch.stack(losses[4:]).mean().item(), abs=1e-6)


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_training_ends_as_the_uninterrupted_one(tmp_path, method, validated):
    """Shuffled, with dropout and momentum: Lightning alone would draw other random numbers."""
    start, teacher, data = (Validated if validated else Net)(momentum=0.9), Net().network, samples()
    other = DataLoader(TensorDataset(torch.randn(5, 1, 4, 4), torch.arange(5) % 3), batch_size=5)

    def fit(path=None):
        module = copy.deepcopy(start)
        callback = Distillation(METHODS[method](module.network, teacher))
        saver = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, monitor="val_loss" if validated else None)
        seed_everything(5 if path is None else 6, verbose=False)
        loader = DataLoader(data, batch_size=4, shuffle=True)
        trainer(tmp_path, callback, saver, epochs=4).fit(module, loader, other if validated else None, ckpt_path=path)
        return module, callback.objective

    whole, learned = fit()
    resumed, again = fit(str(tmp_path / "epoch=1.ckpt"))
    assert len(resumed.batches) == 6  # it trained for the other two epochs
    assert largest(resumed.parameters(), whole.parameters()) == 0
    for name, value in learned.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert (again.progress, again.epoch) == (1.0, 4)


def test_validation_measures_cross_entropy_and_teaches_nothing(tmp_path):
    module = Validated()
    images, labels = torch.randn(5, 1, 4, 4), torch.arange(5) % 3
    loader = DataLoader(TensorDataset(images, labels), batch_size=5)
    callback = Distillation(drkd.online_dr_kd())
    made = trainer(tmp_path, callback)
    made.fit(module, DataLoader(samples(), batch_size=4), loader)
    memory = callback.objective.terms[1].target.target
    before = memory.table.clone()
    (row,) = made.validate(module, loader, verbose=False)
    wanted = F.cross_entropy(module.eval()(images), labels).item()
    assert row["val_loss"] == pytest.approx(wanted, abs=1e-6)
    assert torch.equal(memory.table, before)
    assert len(memory.queue) == 0
    assert memory.seen[:12].all()
    assert not memory.seen[12:].any()


def test_a_skipped_step_is_forgotten():
    callback = Distillation(drkd.online_dr_kd())
    memory = callback.objective.terms[1].target.target
    scaler = SimpleNamespace(get_scale=lambda: scale)
    made = SimpleNamespace(
        global_step=0, current_epoch=0, is_last_batch=False, precision_plugin=SimpleNamespace(scaler=scaler)
    )
    callback._steps = 4.0
    module = SimpleNamespace(automatic_optimization=True)
    for after, outputs, seen in ((1.0, {"loss": 0}, 0), (2.0, None, 0), (2.0, {"loss": 0}, 2)):
        scale = 2.0
        callback.objective(torch.zeros(2, 3), torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        callback.on_before_optimizer_step(made, module, None)
        scale = after
        made.global_step += 1
        callback.on_train_batch_end(made, module, outputs, None, 0)
        assert int(memory.seen.sum()) == seen
        assert callback.objective.progress == made.global_step / 4
    assert callback.objective.progress == 0.75


def test_an_epoch_ends_though_its_last_step_was_skipped():
    callback = Distillation(drkd.ols())
    made = SimpleNamespace(
        global_step=4, current_epoch=1, is_last_batch=True, precision_plugin=SimpleNamespace(scaler=None)
    )
    callback._steps = 8.0
    callback.on_train_batch_end(made, SimpleNamespace(automatic_optimization=True), None, None, 0)
    assert (callback.objective.progress, callback.objective.epoch) == (0.5, 2)
    assert callback.objective.terms[1].target.epochs.completed == 2


def test_a_training_step_that_gives_no_loss_teaches_nothing(tmp_path):
    class Picky(Net):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss if batch_idx else None

    callback = Distillation(drkd.online_dr_kd())
    with pytest.warns(UserWarning, match="`training_step` returned `None`"):
        trainer(tmp_path, callback).fit(Picky(), DataLoader(samples(), batch_size=4))
    seen = callback.objective.terms[1].target.target.seen
    assert not seen[:4].any()
    assert seen[4:12].all()


def test_the_whole_recipe(tmp_path):
    start, loader = Net(), DataLoader(samples(), batch_size=4, shuffle=True)

    def make_trainer(callbacks):
        seed_everything(3, verbose=False)
        return trainer(tmp_path, *callbacks)

    student, plain = copy.deepcopy(start), copy.deepcopy(start)
    self_teacher = self_distill(student, make_trainer, drkd.dr_kd, train_dataloaders=loader)
    make_trainer([Distillation(drkd.cross_entropy())]).fit(plain, loader)
    assert largest(self_teacher.parameters(), plain.parameters()) == 0
    again = copy.deepcopy(start)
    make_trainer([Distillation(drkd.dr_kd(plain.network))]).fit(again, loader)
    assert largest(student.parameters(), again.parameters()) == 0
    assert largest(student.parameters(), plain.parameters()) > 1e-4


def test_a_teacher_that_is_always_right_is_told_of(tmp_path):
    def right(inputs):
        return 9.0 * F.one_hot(inputs[:, 0, 0, 0].long(), 3)

    inputs, labels = torch.zeros(12, 1, 4, 4), torch.arange(12) % 3
    inputs[:, 0, 0, 0] = labels
    data = Indexed(TensorDataset(inputs, labels))
    with pytest.warns(UserWarning, match="`dr_kd` had nothing to rectify"):
        trainer(tmp_path, Distillation(drkd.dr_kd(right))).fit(Net(), DataLoader(data, batch_size=4))


def test_what_cannot_work_says_why_and_what_to_do(tmp_path):
    loader = DataLoader(samples(), batch_size=4)
    with pytest.raises(drkd.InputError, match="one `Distillation` among its callbacks, got 0; pass"):
        trainer(tmp_path).fit(Net(), loader)
    with pytest.raises(drkd.InputError, match="`dlb` needs replay, which Lightning does not provide"):
        Distillation(drkd.dlb())
    with pytest.raises(drkd.InputError, match=r"which has no end here; give the Trainer max_epochs or max_steps"):
        trainer(tmp_path, Distillation(drkd.max_sup()), epochs=-1).fit(Net(), loader)

    class Forgetful(Net):
        def training_step(self, batch, batch_idx):
            return self.distil(self(batch[0]), batch[1])

    with pytest.raises(drkd.InputError, match=r"`ps_kd` needs each sample's index.*Indexed`, and pass the last"):
        trainer(tmp_path, Distillation(drkd.ps_kd())).fit(Forgetful(), loader)
    with pytest.raises(drkd.InputError, match="needs the batch's inputs"):
        trainer(tmp_path, Distillation(drkd.dr_kd(Net().network))).fit(Forgetful(), loader)
    bad = SimpleNamespace(callback_metrics={"train_loss": torch.tensor(torch.nan)}, current_epoch=3)
    with pytest.raises(drkd.NonFiniteLossError, match="epoch 3: the loss of `cross_entropy` is NaN"):
        Distillation(drkd.cross_entropy()).on_train_epoch_end(bad, None)


def test_a_checkpoint_of_another_teacher_is_refused(tmp_path):
    def fit(path=None):
        saver = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        callbacks = [Distillation(drkd.dr_kd(Net().network)), saver]
        trainer(tmp_path, *callbacks).fit(Net(), DataLoader(samples(), batch_size=4), ckpt_path=path)

    fit()
    with pytest.raises(drkd.InputError, match="written with another teacher of `dr_kd`"):
        fit(str(tmp_path / "epoch=0.ckpt"))


def test_without_lightning_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    spec = importlib.util.find_spec("drkd.integrations.lightning")
    with pytest.raises(ImportError, match=r"needs lightning.*; install drkd\[lightning\]"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_the_example_runs(capsys):
    spec = importlib.util.spec_from_file_location("lightning_digits", EXAMPLES / "lightning_digits.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.main(epochs=2)
    assert found["student"] > 0.3  # ten digits
    assert "student" in capsys.readouterr().out
