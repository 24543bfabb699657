"""The Trainer against our own loop: the same loss and gradients on the batches that it served."""

import copy

import pytest
import torch
from transformers import Trainer, default_data_collator

import drkd
from drkd.integrations import Indexed
from drkd.integrations.transformers import SelfDistillationTrainer, loss
from trainers import (
    METHODS,
    Gradients,
    Served,
    arguments,
    image_rows,
    images,
    largest,
    our_loop,
    text,
    text_rows,
    without_dropout,
)


@pytest.mark.parametrize(("network", "rows"), [(images, image_rows), (text, text_rows)])
@pytest.mark.parametrize("method", METHODS)
def test_each_step_has_the_loss_and_gradients_of_our_own_loop(tmp_path, method, network, rows):
    model, teacher = network().eval(), network()
    ours = copy.deepcopy(model)
    served = Served()
    given = {"train_dataset": Indexed(rows(12)), "data_collator": served.collate, "callbacks": [Gradients(served)]}
    settings = arguments(tmp_path, num_train_epochs=2, logging_strategy="steps", logging_steps=1)
    trainer = SelfDistillationTrainer(model, settings, method=METHODS[method](model, teacher), **given)
    torch.manual_seed(7)  # for dropout
    trainer.train()
    seen = [row["loss"] for row in trainer.state.log_history if "loss" in row]

    torch.manual_seed(7)
    losses, gradients = our_loop(ours, METHODS[method](ours, teacher), served.batches, per_epoch=3)
    off = max(largest(*pair) for pair in zip(served.gradients, gradients, strict=True))
    apart = largest(torch.tensor(seen), torch.tensor(losses))
    print(f"{method}, {network.__name__}: losses {apart:.0e}, gradients {off:.0e}")
    assert len(losses) == 6
    assert apart < 1e-6
    assert off < 1e-6
    assert largest(model.parameters(), ours.parameters()) < 1e-6


@pytest.mark.parametrize("by", ["trainer", "loss"])
def test_four_accumulated_batches_are_one_step_over_their_rows(tmp_path, by):
    """Three batches of 4 and one of 2; a row does not count. A sum of four batch means would be four times as much."""
    rows = text_rows(14)
    rows[5]["labels"] = torch.tensor(-100)
    model = without_dropout(text())
    whole = default_data_collator(rows)
    labels = whole.pop("labels")
    wanted = copy.deepcopy(model)
    value = drkd.tf_kd_reg()(wanted(**whole).logits, labels)["loss"]
    value.backward()

    served = Served()
    settings = arguments(tmp_path, gradient_accumulation_steps=4, logging_strategy="steps", logging_steps=1)
    given = {"train_dataset": rows, "callbacks": [Gradients(served)]}
    if by == "trainer":
        trainer = SelfDistillationTrainer(model, settings, method=drkd.tf_kd_reg(), **given)
    else:
        trainer = Trainer(model, settings, compute_loss_func=loss(drkd.tf_kd_reg()), **given)
    trainer.train()
    (row,) = [row for row in trainer.state.log_history if "loss" in row]
    assert len(served.gradients) == 1
    assert row["loss"] == pytest.approx(value.item(), abs=1e-6)
    assert largest(served.gradients[0], [p.grad for p in wanted.parameters()]) < 1e-6


def test_the_plain_trainer_moves_schedules_and_targets_of_a_loss_that_is_also_a_callback(tmp_path):
    ours = text()
    theirs = copy.deepcopy(ours)
    served = Served()
    ols = loss(drkd.ols())
    settings = arguments(tmp_path, num_train_epochs=3, save_strategy="steps", save_steps=4)
    given = {"train_dataset": text_rows(12), "data_collator": served.collate}
    trainer = Trainer(theirs, settings, compute_loss_func=ols, callbacks=[ols], **given)
    torch.manual_seed(7)
    trainer.train()
    torch.manual_seed(7)
    objective = drkd.ols()
    our_loop(ours, objective, served.batches, per_epoch=3)
    assert largest(theirs.parameters(), ours.parameters()) < 1e-6
    assert (ols.objective.progress, ols.objective.epoch) == (objective.progress, objective.epoch) == (1.0, 3)
    for name, value in objective.state_dict().items():
        assert torch.equal(ols.objective.state_dict()[name], value), name

    resumed = loss(drkd.ols())
    again = Trainer(text(), settings, compute_loss_func=resumed, callbacks=[resumed], **given)
    torch.manual_seed(7)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert largest(again.model.parameters(), theirs.parameters()) == 0
