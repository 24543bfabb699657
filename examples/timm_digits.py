"""DR-KD with timm's tasks, offline: scikit-learn's digits, timm's smallest ResNet, the loop of its train script.

python examples/timm_digits.py
"""

import copy
import tempfile

import timm
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import AverageMeter, CheckpointSaver, accuracy
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import drkd
from drkd.integrations.timm import SelfDistillationTask


def loader(split: drkd.Split, *, shuffle: bool) -> DataLoader[tuple[torch.Tensor, ...]]:
    """Images from -1 to 1, twice as large, with their labels."""
    images = split.inputs[torch.arange(len(split))].float() / 127.5 - 1
    larger = nn.functional.interpolate(images, scale_factor=2)
    return DataLoader(TensorDataset(larger, split.labels), batch_size=32, shuffle=shuffle)


def train(task: SelfDistillationTask, data: drkd.Data, epochs: int, folder: str) -> float:
    """The pattern of timm's train script; the last accuracy on the test split."""
    train_loader, test_loader = loader(data.train, shuffle=True), loader(data.test, shuffle=False)
    optimizer = create_optimizer_v2(task.get_trainable_module(), opt="sgd", lr=0.05, momentum=0.9)
    scheduler = CosineLRScheduler(optimizer, t_initial=epochs)
    saver = CheckpointSaver(task.get_trainable_module(), optimizer, checkpoint_dir=folder, task=task)
    task.follow(optimizer, epochs=epochs, updates_per_epoch=len(train_loader))
    for epoch in range(epochs):
        task.train()
        for images, labels in train_loader:
            optimizer.zero_grad()
            task(images, labels)["loss"].backward()
            optimizer.step()
        scheduler.step(epoch + 1)
        right, model = AverageMeter(), task.get_eval_model().eval()
        with torch.inference_mode():
            for images, labels in test_loader:
                right.update(accuracy(model(images), labels)[0].item(), len(labels))
        saver.save_checkpoint(epoch, metric=right.avg)
    return right.avg / 100


def main(epochs: int = 10, limit: int = 600) -> dict[str, float]:
    """Train self-teacher and student from the same weights; their accuracies on the test split."""
    data = drkd.load_data("digits", limit_train=limit, seed=0)
    torch.manual_seed(0)
    self_teacher = timm.create_model("test_resnet", num_classes=10, in_chans=1)
    student = copy.deepcopy(self_teacher)
    found = {}
    for name, model in (("self_teacher", self_teacher), ("student", student)):
        objective = drkd.cross_entropy() if name == "self_teacher" else drkd.dr_kd(self_teacher, alpha=0.5)
        torch.manual_seed(1)  # the same batches for both
        with tempfile.TemporaryDirectory() as folder:
            found[name] = train(SelfDistillationTask(model, objective), data, epochs, folder)
    print(f"{limit} digits to train: self-teacher {found['self_teacher']:.3f}, student {found['student']:.3f}")
    return found


if __name__ == "__main__":
    main()
