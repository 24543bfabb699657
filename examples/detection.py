"""DR-KD in a plain training loop of torchvision's SSD: bright squares on noise, two classes by colour.

python examples/detection.py     (half a minute on one core; --quick for seconds)
"""

import copy
import sys

import torch

import drkd
from drkd.tasks.detection import AtPositions, create_detector, detector_losses, measure


def images(count: int, seed: int) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    """Images (3, 64, 64) in [0, 1] with two squares each, red (1) or blue (2)."""
    generator = torch.Generator().manual_seed(seed)
    images, targets = [], []
    for _ in range(count):
        image = 0.4 * torch.rand(3, 64, 64, generator=generator)
        corners = torch.randint(0, 40, (2, 2), generator=generator)
        sides = torch.randint(12, 24, (2, 1), generator=generator)
        labels = torch.randint(1, 3, (2,), generator=generator)
        boxes = torch.cat([corners, corners + sides], dim=1)
        for (left, top, right, bottom), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            image[0 if label == 1 else 2, top:bottom, left:right] = 1
        images.append(image)
        targets.append({"boxes": boxes.float(), "labels": labels})
    return images, targets


def train(detector: torch.nn.Module, objective: drkd.Objective, images: list, targets: list, epochs: int) -> None:
    """Your own loop: only the line with `detector_losses` differs from torchvision's `losses = detector(...)`."""
    optimizer = torch.optim.AdamW(detector.parameters(), lr=0.002)
    detector.train()
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(epoch)).tolist()
        for rows in (order[start : start + 8] for start in range(0, len(order), 8)):
            batch = ([images[row] for row in rows], [targets[row] for row in rows])
            losses, parts = detector_losses(detector, *batch, objective)
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
            objective.update(progress=(epoch + 1) / epochs)
    print(objective.name, {name: round(value.item(), 4) for name, value in parts.items()})


epochs, count = (2, 16) if "--quick" in sys.argv else (20, 96)
training, test = images(count, seed=0), images(count, seed=1)
torch.manual_seed(0)
fresh = create_detector("small_ssd", num_classes=2, image_size=64)
self_teacher, student = copy.deepcopy(fresh), copy.deepcopy(fresh)
train(self_teacher, drkd.cross_entropy(), *training, epochs)
train(student, drkd.dr_kd(AtPositions(self_teacher), alpha=0.3), *training, epochs)
for name, detector in (("self-teacher", self_teacher), ("student", student)):
    with torch.no_grad():
        measured = measure(detector.eval()(test[0]), test[1], ["red", "blue"])
    print(f"{name}: mAP50 {100 * measured.map50:.1f}%")
