"""Training seeds together beside training them one by one: milliseconds of a step per seed.

    python benchmarks/together.py [--device cuda] [--repeats 15] [--models mlp,small_cnn] [--seeds 2,5,20]

Both sides do all of a step (loader, dr_kd with its teacher, optimizer, sums) on random pictures, 1 thread, in one
process: a step of all seeds one by one, then a step of all together, then again. Medians, and the range of the middle
half. The rule of `--together auto` (`drkd.grouping.PAYS_UP_TO`) rests on these figures.
"""

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from datetime import datetime

import torch

import drkd
from drkd.acceleration import choose_memory_format
from drkd.checkpoint import State
from drkd.data.augment import AUGMENTATIONS
from drkd.data.lanes import LanesLoader
from drkd.data.loader import Loader
from drkd.models.counting import count_macs
from drkd.stacked import StackedNetwork
from drkd.step import Watch, make_optimizer, take_step
from drkd.together import _accumulate as accumulate_lanes
from drkd.train import _accumulate as accumulate

SETTINGS = (
    ("mlp", 8, 1, 50, "shift"),
    ("mlp", 32, 3, 128, "cifar"),
    ("small_cnn", 8, 1, 50, "shift"),
    ("small_cnn", 32, 3, 128, "cifar"),
    ("resnet18", 32, 3, 32, "cifar"),
)
"""Network, side of the pictures, channels, batch size, augmentation."""

CLASSES = 10
BATCHES = 6


def random_data(size: int, channels: int, batch_size: int, augmentation: str, seed: int) -> drkd.Data:
    generator = torch.Generator().manual_seed(seed)
    shape = (BATCHES * batch_size, channels, size, size)
    inputs = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    split = drkd.Split(inputs, torch.randint(CLASSES, shape[:1], generator=generator))
    names = tuple(str(i) for i in range(CLASSES))
    channel_means = (0.5,) * channels
    return drkd.Data("random", names, split, split, split, AUGMENTATIONS[augmentation], channel_means, channel_means)


def stepper(student, objective, loader, device, summed) -> Callable[[], None]:
    """A function that makes one optimizer step and begins a new epoch where one ends."""
    scaler = torch.amp.GradScaler(device.type, enabled=False)
    state = State(student, objective, make_optimizer("sgd", student, 0.01, 0.9, 5e-4), scaler)
    watch = Watch(objective.name, device)

    def batches():
        epoch = 0
        while True:
            yield from loader.batches(epoch)
            epoch += 1

    served = batches()
    student.train()

    def step() -> None:
        batch = next(served)
        losses, logits, _ = take_step(student, state, batch, 0.01, "float32", None, watch)
        objective.update()
        state.done.step += 1
        summed(state.sums, losses, logits, batch.labels)

    return step


def measure(setting, seeds: int, repeats: int, device: torch.device) -> tuple[list[float], list[float]]:
    """Milliseconds per seed of each step: one by one, and together."""
    name, size, channels, batch_size, augmentation = setting
    data = [random_data(size, channels, batch_size, augmentation, seed) for seed in range(seeds)]
    build = lambda: drkd.create_model(name, num_classes=CLASSES, image_size=size, channels=channels)  # noqa: E731
    networks, teachers = [build() for _ in data], [build() for _ in data]
    served = {"batch_size": batch_size, "training": True, "device": device}
    stacked = StackedNetwork(networks).to(device)
    objective = drkd.dr_kd(StackedNetwork(teachers), reduction="none").to(device)
    lanes = LanesLoader(data, [lane.train for lane in data], seeds=range(seeds), **served)
    add_lanes = lambda sums, losses, logits, labels: accumulate_lanes(  # noqa: E731
        sums, losses, logits.argmax(dim=1) == labels, seeds
    )
    together = stepper(stacked, objective, lanes, device, add_lanes)
    alone = []
    for seed in range(seeds):
        layout = choose_memory_format("auto", networks[seed])
        student = networks[seed].to(device).to(memory_format=layout)
        objective = drkd.dr_kd(teachers[seed]).to(device).to(memory_format=layout)
        loader = Loader(data[seed], data[seed].train, seed=seed, **served)
        alone.append(stepper(student, objective, loader, device, accumulate))

    def one_by_one() -> None:
        for step in alone:
            step()

    def timed(step: Callable[[], None]) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - started) * 1000 / seeds

    for step in (one_by_one, together) * 2:
        step()
    pairs = [(timed(one_by_one), timed(together)) for _ in range(repeats)]
    return [one for one, _ in pairs], [both for _, both in pairs]


def in_words(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--models", default="mlp,small_cnn,resnet18")
    parser.add_argument("--seeds", default="2,5,20")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    device = torch.device(options.device)
    machine = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    print(f"{machine}, 1 thread, torch {torch.__version__}, {datetime.now():%Y-%m-%d}\n")
    print("| network | pictures | batch | MACs | seeds | one by one, ms | together, ms | ratio |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for setting in SETTINGS:
        name, size, channels, batch_size, _ = setting
        if name not in options.models.split(","):
            continue
        network = drkd.create_model(name, num_classes=CLASSES, image_size=size, channels=channels)
        macs = count_macs(network, (channels, size, size))
        for seeds in map(int, options.seeds.split(",")):
            alone, together = measure(setting, seeds, options.repeats, device)
            ratio = statistics.median(a / t for a, t in zip(alone, together, strict=True))
            cells = (name, f"{size}x{size}x{channels}", batch_size, f"{macs:,}", seeds)
            print(
                "|",
                " | ".join(map(str, (*cells, in_words(alone), in_words(together), f"{ratio:.2f}"))),
                "|",
                flush=True,
            )


if __name__ == "__main__":
    main()
