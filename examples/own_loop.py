"""DR-KD in your own training loop: four lines more than cross-entropy. Digits, a small network, plain PyTorch.

python examples/own_loop.py      (seven seconds on one core)
"""

import copy

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import drkd


def train(
    network: nn.Module, objective: drkd.Objective, images: torch.Tensor, labels: torch.Tensor, epochs: int
) -> None:
    """A loop as you have it; the lines with `objective` are drkd's."""
    torch.manual_seed(1)  # the same batches for both trainings
    loader = DataLoader(TensorDataset(images, labels, torch.arange(len(labels))), batch_size=50, shuffle=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    step, steps = 0, epochs * len(loader)
    for epoch in range(epochs):
        network.train()
        for batch, targets, index in loader:
            losses = objective(network(batch), targets, inputs=batch, index=index)
            optimizer.zero_grad()
            losses["loss"].backward()
            optimizer.step()
            step += 1
            objective.update(progress=step / steps, epoch=step // len(loader))
        if epoch == epochs - 1:
            print(objective.name, {name: round(value.item(), 3) for name, value in losses.items()})


def main(epochs: int = 30) -> dict[str, float]:
    """The self-teacher first, then a fresh copy of the same network that learns from it; test accuracies."""
    data = drkd.load_data("digits", limit_train=300)
    images, test = (split.inputs[torch.arange(len(split))].float() / 127.5 - 1 for split in (data.train, data.test))
    torch.manual_seed(0)
    fresh = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    self_teacher, student = copy.deepcopy(fresh), copy.deepcopy(fresh)
    train(self_teacher, drkd.cross_entropy(), images, data.train.labels, epochs)
    objective = drkd.dr_kd(self_teacher.eval(), alpha=0.5, temperature=4.0)
    train(student, objective, images, data.train.labels, epochs)
    with torch.no_grad():
        found = {
            name: float((network.eval()(test).argmax(dim=1) == data.test.labels).float().mean())
            for name, network in (("self_teacher", self_teacher), ("student", student))
        }
    print(f"test accuracy: self-teacher {found['self_teacher']:.3f}, student {found['student']:.3f}")
    return found


if __name__ == "__main__":
    main()
