"""Small Transformers, rows for them, and the training that the Trainer is held against."""

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    TrainerCallback,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    default_data_collator,
)

import drkd
from drkd.integrations.common import Logits

SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "num_labels": 3}


def images():
    return ViTForImageClassification(
        ViTConfig(image_size=4, patch_size=2, num_channels=1, hidden_dropout_prob=0.1, **SMALL)
    )


def text():
    return BertForSequenceClassification(BertConfig(vocab_size=20, max_position_embeddings=6, **SMALL))


def without_dropout(model):
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return model


def image_rows(count):
    images, labels = torch.randn(count, 1, 4, 4), torch.arange(count) % 3
    return [{"pixel_values": image, "labels": label} for image, label in zip(images, labels, strict=True)]


def text_rows(count):
    words, labels = torch.randint(0, 20, (count, 6)), torch.arange(count) % 3
    mask = (torch.arange(6) < torch.randint(2, 7, (count, 1))).long()
    return [{"input_ids": w, "attention_mask": m, "labels": y} for w, m, y in zip(words, mask, labels, strict=True)]


def arguments(folder, **changed):
    settings = {
        "output_dir": str(folder),
        "num_train_epochs": 1,
        "per_device_train_batch_size": 4,
        "learning_rate": 0.1,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "remove_unused_columns": False,
    }
    return TrainingArguments(**(settings | changed))


class Served:
    """The batches that a Trainer saw, and the gradients of its steps."""

    def __init__(self):
        self.batches, self.gradients = [], []

    def collate(self, rows):
        self.batches.append(default_data_collator(rows))
        return self.batches[-1]


class Gradients(TrainerCallback):
    def __init__(self, served):
        self.served = served

    def on_pre_optimizer_step(self, args, state, control, model=None, **others):
        self.served.gradients.append([p.grad.clone() for p in model.parameters()])


def our_loop(model, objective, batches, per_epoch, lr=0.1):
    """The protocol of drkd on batches of a mapping; the losses, and the gradients of every step."""
    losses, gradients = [], []
    model.train()
    for step, batch in enumerate(batches):
        if step % per_epoch == 0:
            torch.empty((), dtype=torch.int64).random_()  # a loader draws a seed when it starts
        inputs = {name: value for name, value in batch.items() if name not in ("labels", "index")}
        model.zero_grad()
        made = objective(model(**inputs).logits, batch["labels"], inputs=inputs, index=batch.get("index"))
        made["loss"].backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(lr * parameter.grad)
        objective.update(progress=(step + 1) / len(batches), epoch=(step + 1) // per_epoch)
        losses.append(made["loss"].item())
    return losses, gradients


def largest(first, second):
    return max((a - b).abs().max().item() for a, b in zip(first, second, strict=True))


METHODS = {
    "dr_kd": lambda student, teacher: drkd.dr_kd(Logits(teacher), alpha=0.5, temperature=2.0),
    "ema": lambda student, teacher: drkd.online_dr_kd(source=drkd.Ema(Logits(student))),
    "ps_kd": lambda student, teacher: drkd.ps_kd(),
    "tf_kd_reg": lambda student, teacher: drkd.tf_kd_reg(),
}
