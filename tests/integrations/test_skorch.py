"""skorch against our own loop: the same loss and gradients on the batches that it served."""

import copy
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback

import drkd
from drkd.integrations.skorch import Criterion, SelfDistillationClassifier

EXAMPLES = Path(__file__).parents[2] / "examples"


def network():
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 3))


def samples(count=12):
    return torch.randn(count, 4).numpy(), (np.arange(count) % 3).astype(np.int64)


class Seen(Callback):
    """The batches, losses and gradients of a training."""

    def initialize(self):
        self.batches, self.losses, self.gradients = [], [], []
        return self

    def on_grad_computed(self, net, named_parameters, batch=None, **others):
        self.gradients.append([p.grad.clone() for _, p in named_parameters if p.grad is not None])

    def on_batch_end(self, net, batch=None, training=False, loss=None, **others):
        if training:
            self.batches.append(batch)
            self.losses.append(loss.detach())


def classifier(module, objective, *callbacks, **changed):
    settings = {"max_epochs": 3, "batch_size": 4, "lr": 0.1, "train_split": None, "verbose": 0}
    settings |= {"iterator_train__shuffle": True, "callbacks": list(callbacks)} | changed
    return SelfDistillationClassifier(module, criterion=Criterion(objective), **settings)


def largest(first, second):
    return max((a - b).abs().max().item() for a, b in zip(first, second, strict=True))


METHODS = {
    "dr_kd": lambda student, teacher: drkd.dr_kd(teacher, alpha=0.5, temperature=2.0),
    "ema": lambda student, teacher: drkd.online_dr_kd(source=drkd.Ema(student)),
    "ps_kd": lambda student, teacher: drkd.ps_kd(),
    "ols": lambda student, teacher: drkd.ols(),
}


def with_numbers(inputs):
    return {"inputs": inputs, "index": np.arange(len(inputs))}


@pytest.mark.parametrize("method", METHODS)
def test_each_step_has_the_loss_and_gradients_of_our_own_loop(method):
    module, teacher, (inputs, labels) = network(), network(), samples()
    ours, seen = copy.deepcopy(module), Seen()
    net = classifier(module, METHODS[method](module, teacher), seen)
    torch.manual_seed(7)
    net.fit(with_numbers(inputs), labels)

    torch.manual_seed(7)
    objective, losses, gradients = METHODS[method](ours, teacher), [], []
    ours.train()
    for step, (batch, wanted) in enumerate(seen.batches):
        if step % 3 == 0:  # a loader draws two seeds when it starts, for itself and for the order
            torch.empty((2,), dtype=torch.int64).random_()
        ours.zero_grad()
        made = objective(ours(batch["inputs"]), wanted, inputs=batch["inputs"], index=batch["index"])
        made["loss"].backward()
        losses.append(made["loss"].detach())
        gradients.append([p.grad.clone() for p in ours.parameters()])
        with torch.no_grad():
            for parameter in ours.parameters():
                parameter.sub_(0.1 * parameter.grad)
        objective.update(progress=(step + 1) / 9, epoch=(step + 1) // 3)
    off = max(largest(*pair) for pair in zip(seen.gradients, gradients, strict=True))
    print(f"{method}: losses {largest(seen.losses, losses):.0e}, gradients {off:.0e}")
    assert len(losses) == 9
    assert largest(seen.losses, losses) < 1e-6
    assert off < 1e-6
    assert (net.criterion_.objective.progress, net.criterion_.objective.epoch) == (1.0, 3)


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_saved_parameters_hold_what_was_learned(tmp_path, method, safe):
    """Three epochs at once, and one epoch, a file, two more."""
    start, teacher, (inputs, labels) = network()[::2], network(), samples()
    files = {name: tmp_path / name for name in ("f_params", "f_criterion", "f_optimizer")}
    if safe:
        del files["f_optimizer"]  # safetensors holds no optimizer; plain SGD has no state

    def made():
        module = copy.deepcopy(start)
        return classifier(module, METHODS[method](module, teacher), iterator_train__shuffle=False).initialize()

    whole = made().partial_fit(with_numbers(inputs), labels, epochs=3)
    first = made().partial_fit(with_numbers(inputs), labels, epochs=1)
    first.save_params(**files, use_safetensors=safe, f_history=tmp_path / "history.json")
    second = made()
    second.load_params(**files, use_safetensors=safe, f_history=tmp_path / "history.json")
    second.partial_fit(with_numbers(inputs), labels, epochs=2)
    assert largest(second.module_.parameters(), whole.module_.parameters()) == 0
    for name, value in whole.criterion_.state_dict().items():
        assert torch.equal(second.criterion_.state_dict()[name], value), name


def test_validation_measures_cross_entropy_and_teaches_nothing():
    inputs, labels = samples()
    net = classifier(network(), drkd.online_dr_kd(), max_epochs=2)
    net.fit(with_numbers(inputs), labels)
    memory = net.criterion_.objective.terms[1].target.target
    before = memory.table.clone()
    step = net.validation_step(({"inputs": torch.from_numpy(inputs)}, torch.from_numpy(labels)))
    assert step["loss"].item() == pytest.approx(
        F.cross_entropy(step["y_pred"], torch.from_numpy(labels)).item(), abs=1e-6
    )
    assert torch.equal(memory.table, before)
    assert len(memory.queue) == 0


def test_a_plain_classifier_takes_methods_that_need_nothing_and_scikit_learn_takes_both():
    inputs, labels = samples(30)
    plain = NeuralNetClassifier(network(), criterion=Criterion(drkd.tf_kd_reg()), max_epochs=2, verbose=0)
    probabilities = plain.fit(inputs, labels).predict_proba(inputs)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(30), abs=1e-5)
    net = classifier(network(), drkd.dr_kd(network()))
    copied = clone(net)
    assert copied.criterion.objective is not net.criterion.objective
    search = GridSearchCV(net, {"lr": [0.01, 0.1]}, cv=2, scoring="accuracy").fit(inputs, labels)
    assert search.best_params_["lr"] in (0.01, 0.1)
    assert search.best_estimator_.criterion_.objective.progress == 1.0


def test_modules_of_several_inputs_get_them_by_name_and_so_does_the_teacher():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 3)

        def forward(self, left, right):
            return self.layer(left + right)

    asked = []

    def teacher(inputs):
        asked.append(sorted(inputs))
        return torch.tensor([1.0, 0.0, 0.0]).expand(len(inputs["left"]), 3)

    inputs, labels = samples()
    rows = {"left": inputs, "right": inputs, "index": np.arange(12)}
    classifier(Two(), drkd.dr_kd(teacher), max_epochs=1).fit(rows, labels)
    assert asked == [["left", "right"]] * 3


def test_the_history_has_the_parts_and_a_teacher_that_is_always_right_is_told_of():
    inputs, labels = samples(10)  # batches of 4, 4 and 2
    net = classifier(network(), drkd.dr_kd(network())).fit(inputs, labels)
    for row in net.history:
        assert row["train_loss"] == pytest.approx(row["train_ce"] + row["train_soft"], abs=1e-5)
        assert 0 < row["train_rectified"] < 1
    always = drkd.dr_kd(network(), rectify=lambda logits, labels: logits + 1.0, alpha_schedule="rising")
    assert classifier(network(), always).fit(inputs, labels).history[0]["train_rectified"] == 1  # not in batch 1
    inputs[:, 0] = labels
    with pytest.warns(UserWarning, match="`dr_kd` had nothing to rectify"):
        classifier(network(), drkd.dr_kd(lambda x: 9.0 * F.one_hot(x[:, 0].long(), 3))).fit(inputs, labels)


def test_what_cannot_work_says_why_and_what_to_do():
    inputs, labels = samples()
    with pytest.raises(drkd.InputError, match=r"`ps_kd` needs each sample's index.* or give X as .*np.arange"):
        classifier(network(), drkd.ps_kd()).fit(inputs, labels)
    for objective in (drkd.dr_kd(network()), drkd.max_sup()):
        plain = NeuralNetClassifier(network(), criterion=Criterion(objective), verbose=0, train_split=None)
        with pytest.raises(drkd.InputError, match=r"does not receive; use .*SelfDistillationClassifier"):
            plain.fit(inputs, labels)
    with pytest.raises(drkd.InputError, match="`dlb` needs replay, which skorch does not provide"):
        Criterion(drkd.dlb())
    with pytest.raises(drkd.InputError, match=r"needs criterion=Criterion\(objective\), got NLLLoss"):
        SelfDistillationClassifier(network(), verbose=0).initialize()
    state = Criterion(drkd.dr_kd(network())).state_dict()
    with pytest.raises(drkd.InputError, match="written with another teacher of `dr_kd`"):
        Criterion(drkd.dr_kd(network())).load_state_dict(state)


def test_without_skorch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skorch", None)
    spec = importlib.util.find_spec("drkd.integrations.skorch")
    with pytest.raises(ImportError, match=r"needs skorch; install drkd\[skorch\]"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_the_example_runs(capsys):
    spec = importlib.util.spec_from_file_location("skorch_wine", EXAMPLES / "skorch_wine.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(epochs=5)["student"] > 0.6  # three kinds
    assert "student" in capsys.readouterr().out
