"""The baseline of benchmarks/speed.py: DR-KD and its input pipeline the way the papers' public code works.

Written from what is known of that code, not taken from it. Known: plain optimizer steps on memory in the usual order;
the teacher in eval mode on the same batch, with gradients switched on, so that a graph is built which nobody uses; the
swap in place; a KL divergence that is averaged over the classes too; torchvision's transforms, image by image.
Where nothing is known the faster way is taken: the swap has no loop over the samples, the backward pass does not go
through the teacher, nothing is logged.
"""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


def swap_in_place(logits: Tensor, labels: Tensor) -> Tensor:
    """The largest logit and the label's change places."""
    rows, largest = torch.arange(len(labels), device=labels.device), logits.argmax(dim=1)
    of_label = logits[rows, labels].clone()
    logits[rows, labels] = logits[rows, largest]
    logits[rows, largest] = of_label
    return logits


def naive_loss(
    logits: Tensor, teacher_logits: Tensor, labels: Tensor, alpha: float, temperature: float, multiplier: float
) -> Tensor:
    """(1 - a) CE + a T^2 m KL(softmax(v / T) || softmax(z / T)) / K; changes `teacher_logits`."""
    taught = F.softmax(swap_in_place(teacher_logits, labels) / temperature, dim=1)
    student = F.log_softmax(logits / temperature, dim=1)
    kl = F.kl_div(student, taught, reduction="sum") / logits.numel()  # over samples and classes
    return (1 - alpha) * F.cross_entropy(logits, labels) + alpha * temperature**2 * multiplier * kl


class NaiveLoop:
    """A training that makes one DR-KD step each time it is asked.

    Args:
        student, teacher: of the same number of classes, on the batches' device.
        batches: (inputs, labels), gone round.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> None:
        self.student, self.teacher, self.batches = student.train(), teacher.eval(), batches
        self.optimizer = torch.optim.SGD(student.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)
        self.steps = 0

    def step(self) -> None:
        inputs, labels = self.batches[self.steps % len(self.batches)]
        self.steps += 1
        self.optimizer.zero_grad()
        logits = self.student(inputs)
        teacher_logits = self.teacher(inputs).detach()  # with its graph, which is dropped here
        naive_loss(logits, teacher_logits, labels, alpha=0.95, temperature=20.0, multiplier=1.0).backward()
        self.optimizer.step()


class PerSample(Dataset):
    """Images that torchvision augments one by one: crop, mirror, rotation, normalisation.

    Args:
        images: uint8 (N, 3, H, W).
        labels: (N,).
    """

    def __init__(self, images: Tensor, labels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.images, self.labels = images.permute(0, 2, 3, 1).contiguous().numpy(), labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(images.shape[-1], padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.RandomRotation(15),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[position])), self.labels[position]


def per_sample_loader(samples: PerSample, batch_size: int, workers: int) -> DataLoader:
    """Shuffled batches; workers stay from epoch to epoch."""
    return DataLoader(samples, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
