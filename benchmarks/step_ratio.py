"""What a step of `drkd.fit` costs beside a bare PyTorch step of the same arithmetic.

    python benchmarks/step_ratio.py

The network is `mlp` on 300 of the digits (batch 50, augmentation `shift`), on one thread. `fit` is an epoch of
`drkd.fit` divided by its steps: loader, steps, sums and the epoch's row; no validation (the data has no such split), no
files. A `bare` step is forward, loss, backward and a fused SGD step on batches made beforehand; for DR-KD also a
teacher's pass, the swap of its logits and the soft loss. An epoch and as many bare steps take turns in one process.
Ratios are medians over the rounds. The target is 1.6 for both.

The other figures are microseconds per step too: `loader` serves a training batch; `objective` is the loss of given
logits, with the teacher's pass, without backward; `rest` is `fit` without `loader` and `bare`.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import drkd
from drkd.data.loader import Loader
from drkd.utils.timing import WARM_UP, take_turns

ROUNDS, BATCH, ALPHA, TEMPERATURE, LEARNING_RATE = 60, 50, 0.5, 4.0, 0.1
OPTIMIZER = {"momentum": 0.9, "weight_decay": 5e-4}  # those of `drkd.fit`

DATA = drkd.load_data("digits", validation=0, limit_train=300, augment="shift")
LOADER = Loader(DATA, DATA.train, batch_size=BATCH, training=True)
BATCHES = list(LOADER.batches())


def new_network() -> nn.Module:
    torch.manual_seed(0)
    return drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)


def soft_loss(teacher: nn.Module, logits: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """DR-KD's loss with the teacher's pass."""
    with torch.no_grad():
        answers = teacher(inputs)
        top, label = answers.argmax(dim=1, keepdim=True), labels[:, None]
        highest, own = answers.gather(1, top), answers.gather(1, label)
        answers = answers.scatter(1, top, own).scatter(1, label, highest)
        target = F.softmax(answers / TEMPERATURE, dim=1)
    soft = F.cross_entropy(logits / TEMPERATURE, target)
    return (1 - ALPHA) * F.cross_entropy(logits, labels) + ALPHA * TEMPERATURE**2 * soft


def hard_loss(logits: Tensor, _inputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels)


class Bare:
    """The loop that a PyTorch user would write."""

    def __init__(self, loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        self.student, self.loss = new_network().train(), loss
        self.optimizer = torch.optim.SGD(self.student.parameters(), lr=LEARNING_RATE, fused=True, **OPTIMIZER)

    def epoch(self) -> None:
        for inputs, labels, *_ in BATCHES:
            loss = self.loss(self.student(inputs), inputs, labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()


def measure_fit(objective: nn.Module, bare: Bare) -> tuple[list[float], list[float]]:
    """Seconds of each epoch of `drkd.fit`, and of the bare steps between it and the next."""
    ours: list[float] = []
    theirs: list[float] = []
    started = 0.0

    def on_epoch(_: object) -> None:
        nonlocal started
        ended = time.perf_counter()
        ours.append(ended - started)
        bare.epoch()
        started = time.perf_counter()
        theirs.append(started - ended)

    started = time.perf_counter()
    drkd.fit(
        new_network(), objective, DATA, epochs=WARM_UP + ROUNDS, batch_size=BATCH, lr=LEARNING_RATE, on_epoch=on_epoch
    )
    return ours[WARM_UP:], theirs[WARM_UP:]


def main() -> None:
    torch.set_num_threads(1)
    teacher = new_network().eval().requires_grad_(False)
    methods = {
        "cross_entropy": (drkd.cross_entropy(), Bare(hard_loss)),
        "dr_kd": (drkd.dr_kd(teacher, alpha=ALPHA, temperature=TEMPERATURE), Bare(partial(soft_loss, teacher))),
    }
    logits = torch.randn(BATCH, 10, requires_grad=True)

    def objective_alone(objective: nn.Module) -> None:
        for batch in BATCHES:
            objective(logits, batch.labels, inputs=batch.inputs, index=batch.index)

    for name, (objective, bare) in methods.items():
        ours, theirs = measure_fit(objective, bare)
        alone = {"loader": lambda: list(LOADER.batches(1)), "objective": partial(objective_alone, objective)}
        seconds = {"fit": ours, "bare": theirs, **take_turns(alone, rounds=ROUNDS)}
        micro = {part: 1e6 * statistics.median(taken) / len(BATCHES) for part, taken in seconds.items()}
        micro["rest"] = micro["fit"] - micro["loader"] - micro["bare"]
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        print(f"{name:14} ratio {ratio:.2f}; us per step: " + ", ".join(f"{k} {v:.0f}" for k, v in micro.items()))


if __name__ == "__main__":
    main()
