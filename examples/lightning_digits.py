"""DR-KD in Lightning, offline: scikit-learn's digits and a small convolutional network.

python examples/lightning_digits.py
"""

from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import drkd
from drkd.integrations.lightning import Distilling, self_distill


class Classifier(Distilling, LightningModule):
    """A classifier as one writes it for Lightning, but for `self.distil`."""

    def __init__(self) -> None:
        super().__init__()
        self.network = drkd.create_model("small_cnn", num_classes=10, image_size=8, channels=1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, labels = batch
        return self.distil(self(inputs), labels, inputs=inputs)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        inputs, labels = batch
        self.log("accuracy", (self(inputs).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def loader(split: drkd.Split, *, shuffle: bool) -> DataLoader[tuple[Tensor, ...]]:
    """Images from -1 to 1 with their labels."""
    images = split.inputs[torch.arange(len(split))].float() / 127.5 - 1
    return DataLoader(TensorDataset(images, split.labels), batch_size=32, shuffle=shuffle)


def main(epochs: int = 10, limit: int = 300) -> dict[str, float]:
    """Train self-teacher and student; their accuracies on the test split."""
    data = drkd.load_data("digits", limit_train=limit, seed=0)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "auto"}

    def make_trainer(callbacks: list[Any]) -> Trainer:
        seed_everything(0, verbose=False)
        return Trainer(
            max_epochs=epochs, callbacks=callbacks, enable_checkpointing=False, log_every_n_steps=1, devices=1, **quiet
        )

    seed_everything(0, verbose=False)
    student = Classifier()
    loaded = loader(data.train, shuffle=True)
    self_teacher = self_distill(student, make_trainer, partial(drkd.dr_kd, alpha=0.5), train_dataloaders=loaded)
    test = loader(data.test, shuffle=False)
    trainer = Trainer(devices=1, **quiet)
    found = {
        name: trainer.test(module, test, verbose=False)[0]["accuracy"]
        for name, module in (("self_teacher", self_teacher), ("student", student))
    }
    print(f"{limit} digits to train: self-teacher {found['self_teacher']:.3f}, student {found['student']:.3f}")
    return found


if __name__ == "__main__":
    main()
