"""One contender of `benchmarks/peers.py` in a process of its own: it trains, and prints when its steps ended, as JSON.

    python benchmarks/peer_loops.py NAME '{"folder": ..., "model": "small_cnn", "size": 32, "batch": 128, ...}'

Each trains the same network from random weights with SGD (0.05, momentum 0.9, decay 5e-4) and cross-entropy, validates
nothing and writes nothing that its command does not have to. The peers' loops follow what their documentation or their
reference script does in a step, in our words.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

LR, MOMENTUM, DECAY = 0.05, 0.9, 5e-4

STEPS: list[tuple[torch.optim.Optimizer, list[tuple[float, float]]]] = []
"""Of each optimizer, kept alive, when its steps ended, and how many seconds of processors had been used by then."""


def note_step(optimizer: torch.optim.Optimizer, *_: object) -> None:
    now = (time.time(), busy_seconds())
    for known, times in STEPS:
        if known is optimizer:
            times.append(now)
            return
    STEPS.append((optimizer, [now]))


def busy_seconds() -> float:
    """Seconds of processors that this process and its workers have used."""
    return time.process_time() + sum(map(processor_seconds, children()))


def children() -> list[int]:
    """Worker processes that load."""
    found = (task / "children" for task in Path("/proc/self/task").iterdir())
    return [int(pid) for file in found if file.exists() for pid in file.read_text().split()]


def processor_seconds(pid: int) -> float:
    """What a process has used."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def network(how: SimpleNamespace) -> nn.Module:
    """The network of all contenders; in the memory order that was asked for."""
    from drkd.models import create_model

    made = create_model(how.model, num_classes=how.classes, image_size=how.size)
    return made.to(memory_format=torch.channels_last) if how.channels_last else made


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)


def drkd_fit(how: SimpleNamespace) -> None:
    import drkd

    data = drkd.load_data(how.folder, image_size=how.size, augment="crop_flip", validation=0)
    drkd.fit(
        network(how),
        drkd.cross_entropy(),
        data,
        epochs=how.epochs,
        batch_size=how.batch,
        lr=LR,
        schedule="constant",
        device="cpu",
    )


def drkd_train(how: SimpleNamespace) -> None:
    from drkd.cli import main

    options = f"--data {how.folder} --image-size {how.size} --augment crop_flip --validation 0 --model {how.model}"
    options += f" --method cross_entropy --epochs {how.epochs} --batch-size {how.batch} --lr {LR} --schedule constant"
    with tempfile.TemporaryDirectory() as scratch:
        sys.argv = ["drkd", "train", *options.split(), "--device", "cpu", "--out", f"{scratch}/run"]
        sys.argv += ["--threads", str(how.threads)] if how.threads else []
        main()


def plain(how: SimpleNamespace) -> None:
    """The loop of PyTorch's tutorials."""
    from peer_data import loader_of

    model, loader = network(how), loader_of(Path(how.folder), how.size, how.batch, how.workers)
    optimizer, criterion = sgd(model), nn.CrossEntropyLoss()
    model.train()
    for _ in range(how.epochs):
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(ordered(inputs, how)), labels)
            loss.backward()
            optimizer.step()


def torchvision_reference(how: SimpleNamespace) -> None:
    """torchvision's references/classification/train.py: top-1 and top-5 accuracy, loss and speed in every step."""
    from peer_data import loader_of

    model, loader = network(how), loader_of(Path(how.folder), how.size, how.batch, how.workers)
    optimizer, criterion = sgd(model), nn.CrossEntropyLoss()
    for _ in range(how.epochs):
        model.train()
        meters: dict[str, list[float]] = {"loss": [], "acc1": [], "acc5": [], "img/s": []}
        for inputs, labels in loader:
            began = time.time()
            output = model(ordered(inputs, how))
            loss = criterion(output, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.inference_mode():
                best = labels == output.topk(min(5, how.classes), dim=1).indices.T
            meters["acc1"].append(best[:1].float().sum().item())
            meters["acc5"].append(best.float().sum().item())
            meters["loss"].append(loss.item())
            meters["img/s"].append(len(labels) / (time.time() - began))


def timm_loop(how: SimpleNamespace) -> None:
    """timm's train.py with its own loader, optimizer and meters: no update clipped, no mixed precision, no average."""
    from peer_data import timm_loader
    from timm.optim import create_optimizer_v2
    from timm.utils import AverageMeter, random_seed

    random_seed(0)
    model = network(how)
    loader = timm_loader(Path(how.folder), how.size, how.batch, how.workers)
    how_to_step: dict[str, Any] = {"opt": "momentum", "lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY}
    optimizer = create_optimizer_v2(model, **how_to_step, filter_bias_and_bn=False)  # decay as everybody else
    criterion = nn.CrossEntropyLoss()
    for _ in range(how.epochs):
        model.train()
        losses, seconds = AverageMeter(), AverageMeter()
        optimizer.zero_grad()
        before = time.time()
        for number, (inputs, labels) in enumerate(loader):
            loss = criterion(model(ordered(inputs, how)), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            now = time.time()
            seconds.update(now - before)
            before = now
            if number % 50 == 0 or number == len(loader) - 1:
                losses.update(loss.item(), len(labels))


def hugging_face(how: SimpleNamespace) -> None:
    from peer_data import dataset_of
    from transformers import Trainer, TrainingArguments

    class WithLoss(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
            logits = self.inner(ordered(pixel_values, how))
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    def collate(samples: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
        images, labels = zip(*samples, strict=True)
        return {"pixel_values": torch.stack(images), "labels": torch.tensor(labels)}

    model = WithLoss(network(how))
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            scratch,
            per_device_train_batch_size=how.batch,
            num_train_epochs=how.epochs,
            max_grad_norm=0.0,
            lr_scheduler_type="constant",
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=True,
            dataloader_num_workers=how.workers,
            dataloader_persistent_workers=how.workers > 0,
            dataloader_pin_memory=False,
        )
        Trainer(
            model,
            arguments,
            data_collator=collate,
            train_dataset=dataset_of(Path(how.folder), how.size),
            optimizers=(sgd(model), None),
        ).train()


def lightning(how: SimpleNamespace) -> None:
    import lightning as pl
    from peer_data import loader_of

    class Module(pl.LightningModule):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            inputs, labels = batch
            return nn.functional.cross_entropy(self.model(ordered(inputs, how)), labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return sgd(self.model)

    pl.Trainer(
        max_epochs=how.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(Module(network(how)), loader_of(Path(how.folder), how.size, how.batch, how.workers))


def ordered(inputs: Tensor, how: SimpleNamespace) -> Tensor:
    return inputs.contiguous(memory_format=torch.channels_last) if how.channels_last else inputs


CONTENDERS: dict[str, tuple[Callable[[SimpleNamespace], None], str]] = {
    "drkd.fit": (drkd_fit, "drkd"),
    "drkd train": (drkd_train, "drkd"),
    "plain PyTorch": (plain, "torchvision"),
    "torchvision": (torchvision_reference, "torchvision"),
    "timm": (timm_loop, "timm"),
    "Lightning": (lightning, "lightning"),
    "Hugging Face": (hugging_face, "transformers"),
}
"""Who takes part, and the package that has to be there."""


def main() -> None:
    how: Any = SimpleNamespace(**json.loads(sys.argv[2]))
    if how.threads:
        torch.set_num_threads(how.threads)
    register_optimizer_step_post_hook(note_step)
    try:
        CONTENDERS[sys.argv[1]][0](how)
    except SystemExit as done:  # how a command ends
        if done.code:
            raise
    _, times = max(STEPS, key=lambda entry: len(entry[1]))
    print("\n" + json.dumps({"steps": times}))


if __name__ == "__main__":
    main()
