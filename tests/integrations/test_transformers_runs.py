"""Whole trainings with the Trainer: resumed, chosen, refused, and the examples."""

import copy
import importlib.util
import math
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from transformers import (
    Trainer,
    TrainerCallback,
    ViTForImageClassification,
    default_data_collator,
)

import drkd
from drkd.integrations import Indexed
from drkd.integrations.common import Logits
from drkd.integrations.transformers import LEARNED, SelfDistillationTrainer, loss
from trainers import METHODS, arguments, image_rows, images, largest, without_dropout

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_training_ends_as_the_uninterrupted_one(tmp_path, method):
    teacher, rows, start = images(), Indexed(image_rows(12)), images()

    def trainer():
        student = copy.deepcopy(start)
        settings = arguments(tmp_path, num_train_epochs=3, save_strategy="steps", save_steps=1, optim="adamw_torch")
        return SelfDistillationTrainer(student, settings, method=METHODS[method](student, teacher), train_dataset=rows)

    whole = trainer()
    whole.train()
    for step in (2, 4, 6):  # in the middle of an epoch, and between two
        resumed = trainer()
        resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        assert largest(resumed.model.parameters(), whole.model.parameters()) == 0
        for name, value in whole.distilling.objective.state_dict().items():
            assert torch.equal(resumed.distilling.objective.state_dict()[name], value), name


def test_the_best_model_is_the_best_model(tmp_path):
    """Validation wants other labels, so it gets worse, and an early epoch stays the best."""
    rows = image_rows(12)
    others = [{**row, "labels": (row["labels"] + 1) % 3} for row in rows]
    settings = {"num_train_epochs": 8, "learning_rate": 0.3, "save_strategy": "epoch", "eval_strategy": "epoch"}
    args = arguments(tmp_path, load_best_model_at_end=True, **settings)
    given = {"method": drkd.cross_entropy(), "train_dataset": rows, "eval_dataset": others}
    trainer = SelfDistillationTrainer(images(), args, **given)
    trainer.train()
    losses = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]
    assert losses[-1] > min(losses)
    saved = ViTForImageClassification.from_pretrained(trainer.state.best_model_checkpoint)
    assert largest(trainer.model.parameters(), saved.parameters()) == 0
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), abs=1e-6)


def test_the_whole_recipe_starts_both_trainings_from_the_same_weights(tmp_path):
    start, rows = images(), image_rows(12)
    settings = {"num_train_epochs": 2, "save_strategy": "epoch", "logging_strategy": "epoch"}
    method = partial(drkd.dr_kd, alpha=0.5)

    def recipe(folder):
        args = arguments(folder, **settings)
        return SelfDistillationTrainer(copy.deepcopy(start), args, method=method, train_dataset=rows)

    trainer = recipe(tmp_path / "recipe")
    trainer.train()
    plain = SelfDistillationTrainer(
        copy.deepcopy(start), arguments(tmp_path / "plain"), method=drkd.cross_entropy(), train_dataset=rows
    )
    plain.args.num_train_epochs = 2
    plain.train()
    assert largest(trainer.self_teacher.parameters(), plain.model.parameters()) == 0
    student = SelfDistillationTrainer(
        copy.deepcopy(start),
        arguments(tmp_path / "student", **settings),
        method=method(Logits(trainer.self_teacher)),
        train_dataset=rows,
    )
    student.train()
    assert largest(trainer.model.parameters(), student.model.parameters()) == 0
    assert largest(trainer.model.parameters(), plain.model.parameters()) > 1e-4
    parts = [row for row in trainer.state.log_history if "rectified" in row]
    assert len(parts) == 2
    for row in parts:
        assert row["loss"] == pytest.approx(row["ce"] + row["soft"], abs=1e-5)

    resumed = recipe(tmp_path / "recipe")  # the self-teacher is read, the student goes on from its last epoch
    resumed.train(resume_from_checkpoint=str(tmp_path / "recipe" / "checkpoint-3"))
    assert largest(resumed.self_teacher.parameters(), trainer.self_teacher.parameters()) == 0
    assert largest(resumed.model.parameters(), trainer.model.parameters()) == 0


def test_a_recipe_stopped_in_the_self_teachers_training_goes_on_there(tmp_path):
    start, rows = images(), image_rows(12)

    class PowerCut(TrainerCallback):
        def on_step_begin(self, args, state, control, **others):
            if state.global_step == 2:
                raise KeyboardInterrupt

    def recipe(folder, *callbacks):
        args = arguments(folder, num_train_epochs=2, save_strategy="steps", save_steps=1)
        return SelfDistillationTrainer(copy.deepcopy(start), args, train_dataset=rows, callbacks=list(callbacks))

    whole = recipe(tmp_path / "whole")
    whole.train()

    with pytest.raises(KeyboardInterrupt):
        recipe(tmp_path / "cut", PowerCut()).train()
    resumed = recipe(tmp_path / "cut")
    resumed.train(resume_from_checkpoint=True)
    assert largest(resumed.self_teacher.parameters(), whole.self_teacher.parameters()) == 0
    assert largest(resumed.model.parameters(), whole.model.parameters()) == 0


def test_validation_measures_cross_entropy_and_teaches_nothing(tmp_path):
    model, rows = without_dropout(images()), Indexed(image_rows(12))
    settings = arguments(tmp_path, num_train_epochs=2, eval_strategy="steps", eval_steps=1)
    other = image_rows(7)
    quiet = copy.deepcopy(model)
    trainer = SelfDistillationTrainer(model, settings, method=drkd.ps_kd(), train_dataset=rows, eval_dataset=other)
    trainer.train()
    without = SelfDistillationTrainer(
        quiet, arguments(tmp_path, num_train_epochs=2), method=drkd.ps_kd(), train_dataset=rows
    )
    without.train()
    for name, value in trainer.distilling.objective.state_dict().items():
        assert torch.equal(without.distilling.objective.state_dict()[name], value), name
    whole = default_data_collator(other)
    with torch.no_grad():
        wanted = F.cross_entropy(model.eval()(whole["pixel_values"]).logits, whole["labels"]).item()
    found = trainer.evaluate()["eval_loss"]
    assert found == pytest.approx(wanted, abs=1e-6)


def test_a_skipped_step_is_forgotten(tmp_path):
    made = loss(drkd.max_sup())
    made.use(drkd.online_dr_kd())
    made.attached = True
    state = SimpleNamespace(global_step=1, max_steps=4, epoch=0.25)
    outputs, labels = {"logits": torch.zeros(2, 3, requires_grad=True)}, torch.tensor([0, 1])
    memory = made.objective.terms[1].target.target
    for skipped, seen in ((True, 0), (False, 2)):
        made(outputs, labels, 2, index=torch.tensor([0, 1]))
        made.on_step_end(None, state, None, optimizer=SimpleNamespace(step_was_skipped=skipped))
        assert int(memory.seen.sum()) == seen
        assert made.objective.progress == 0.25


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_overflows_is_forgotten(fused):
    """With accelerate's own optimizer and scaler; a Trainer's default optimizer is fused, and called all the same."""
    Accelerator(cpu=True)
    made = loss(drkd.max_sup())
    made.use(drkd.online_dr_kd())
    made.attached = True
    network = torch.nn.Linear(4, 3)
    inner, scaler = torch.optim.SGD(network.parameters(), lr=0.1, fused=fused), torch.amp.GradScaler("cpu")
    optimizer = AcceleratedOptimizer(inner, device_placement=False, scaler=scaler)
    state = SimpleNamespace(global_step=1, max_steps=4, epoch=0.25)
    memory = made.objective.terms[1].target.target
    for large, seen in ((1e38, 0), (1.0, 2)):
        value = made({"logits": network(torch.ones(2, 4))}, torch.tensor([0, 1]), 2, index=torch.tensor([0, 1]))
        scaler.scale(value * large).backward()
        made.on_pre_optimizer_step(None, state, None, optimizer=optimizer)
        optimizer.step()
        optimizer.zero_grad()
        made.on_step_end(None, state, None, optimizer=optimizer)
        assert int(memory.seen.sum()) == seen


def test_parts_are_means_over_the_batches_that_have_them():
    made = loss(drkd.tf_kd_reg(alpha_schedule="rising"))
    made.attached = True
    outputs, labels = {"logits": torch.randn(4, 3, requires_grad=True)}, torch.tensor([0, 1, 2, 0])
    made(outputs, labels, 4)  # its weight is 0: no divergence is measured
    made.objective.update(progress=0.5, epoch=0)
    made(outputs, labels, 4)
    expected = made.objective(outputs["logits"], labels)["soft_kl"].item()
    assert made.means()["soft_kl"] == pytest.approx(expected)
    assert made.means() == {}


def test_outputs_of_any_kind_and_no_loss_that_is_not_finite(tmp_path):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(16, 3)

        def forward(self, pixel_values):
            return self.layer(pixel_values.flatten(1))

    given = {"method": drkd.label_smoothing(), "train_dataset": image_rows(12), "eval_dataset": image_rows(5)}
    trainer = SelfDistillationTrainer(Plain(), arguments(tmp_path), **given)
    trainer.train()
    assert trainer.predict(image_rows(5)).predictions.shape == (5, 3)
    trainer.distilling.sums = {"loss": (torch.tensor(math.nan), torch.tensor(1))}
    with pytest.raises(drkd.NonFiniteLossError, match="`label_smoothing` is NaN or infinite; lower the learning rate"):
        trainer.log({"loss": 0.0})


def test_what_cannot_work_says_why_and_what_to_do(tmp_path):
    args, rows = arguments(tmp_path), image_rows(4)

    def trained(**changed):
        given = {"method": drkd.cross_entropy(), "train_dataset": rows, "args": args} | changed
        SelfDistillationTrainer(images(), **given).train()

    for objective in (drkd.dr_kd(torch.nn.Linear(2, 3)), drkd.ps_kd()):
        with pytest.raises(drkd.InputError, match=r"compute_loss_func does not get; use .*SelfDistillationTrainer"):
            loss(objective)
    with pytest.raises(drkd.InputError, match=r"`max_sup` changes .* compute_loss_func=loss, callbacks=\[loss\]"):
        Trainer(images(), args, train_dataset=rows, compute_loss_func=loss(drkd.max_sup())).train()
    with pytest.raises(drkd.InputError, match=r"`ps_kd` needs each sample's index.*Indexed` and set .*remove_unused"):
        trained(method=drkd.ps_kd())
    with pytest.raises(drkd.InputError, match="needs labels, the batch has no `labels`"):
        trained(train_dataset=[{"pixel_values": row["pixel_values"]} for row in rows])
    with pytest.raises(drkd.InputError, match="`cs_kd` needs pairs, which a Trainer does not provide"):
        trained(method=drkd.cs_kd())
    with pytest.raises(drkd.InputError, match="`kd_clean_view` needs the un-augmented samples before training"):
        trained(method=drkd.kd_clean_view(images()))
    with pytest.raises(drkd.InputError, match='reduction="sum"; leave reduction out'):
        trained(method=drkd.cross_entropy(reduction="sum"))
    with pytest.raises(drkd.InputError, match="ignores -1; mark rows that do not count with -100"):
        trained(method=drkd.cross_entropy(ignore_index=-1))
    with pytest.raises(drkd.InputError, match=r"label_smoothing_factor=0.1 .*method=drkd.label_smoothing"):
        trained(args=arguments(tmp_path, label_smoothing_factor=0.1))
    with pytest.raises(drkd.InputError, match="two networks are trained"):
        trained(method=drkd.dr_kd, optimizers=(torch.optim.SGD([torch.zeros(1)]), None))
    with pytest.raises(drkd.InputError, match="there is no checkpoint to resume from"):
        SelfDistillationTrainer(images(), args, method=drkd.cross_entropy()).train(resume_from_checkpoint=True)
    with pytest.raises(drkd.InputError, match="integer labels"):
        trained(train_dataset=[{**row, "labels": 0.5} for row in rows])


def test_a_checkpoint_of_another_teacher_or_without_the_objective_is_refused(tmp_path):
    settings = arguments(tmp_path, num_train_epochs=2, save_strategy="epoch")
    given = {"train_dataset": image_rows(4)}
    SelfDistillationTrainer(images(), settings, method=drkd.dr_kd(Logits(images())), **given).train()
    with pytest.raises(drkd.InputError, match="written with another teacher of `dr_kd`"):
        SelfDistillationTrainer(images(), settings, method=drkd.dr_kd(Logits(images())), **given).train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-1")
        )
    (tmp_path / "checkpoint-1" / LEARNED).unlink()
    with pytest.raises(drkd.InputError, match="which holds what `cross_entropy` has learned"):
        SelfDistillationTrainer(images(), settings, method=drkd.cross_entropy(), **given).train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-1")
        )


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    spec = importlib.util.find_spec("drkd.integrations.transformers")
    with pytest.raises(ImportError, match=r"needs transformers; install drkd\[transformers\]"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_examples_run(capsys):
    found = example("hugging_face_text").main(epochs=2, every=4)
    assert found["student"] > 0.3  # four pages
    found = example("hugging_face_images").main(epochs=3, limit=600)
    assert found["ps_kd"] > 0.15  # ten digits
    assert "cross-entropy" in capsys.readouterr().out
