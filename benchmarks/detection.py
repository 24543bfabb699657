"""Detectors: what an objective costs a step, what channels last saves, and that alpha = 0 is torchvision's own step.

    python benchmarks/detection.py [--size 128] [--batch 4] [--rounds 10] [--models small_ssd,ssdlite320_mobilenet_v3]

Random images with six boxes each, 1 thread, one process. A step is forward, losses, backward, AdamW; the contenders
take turns. Times are those of the processor, which others on the machine disturb least; ratios are taken in a round.
"""

import argparse
import copy
import time
from collections.abc import Callable

import torch
from torch import nn

import drkd
from drkd.tasks.detection import AtPositions, create_detector, detector_losses
from drkd.utils.machine import environment
from drkd.utils.timing import ratios, spread, take_turns

MODELS = "small_ssd,ssdlite320_mobilenet_v3,fasterrcnn_mobilenet_v3_320,retinanet_mobilenet_v3"


def batch(images: int, size: int) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    corners = torch.rand(images, 6, 2) * size * 0.6
    boxes = torch.cat([corners, corners + size * (0.1 + 0.25 * torch.rand(images, 6, 2))], dim=2)
    targets = [{"boxes": each, "labels": torch.randint(1, 4, (6,))} for each in boxes]
    return list(torch.rand(images, 3, size, size)), targets


def stepper(detector: nn.Module, losses_of: Callable[[nn.Module], dict[str, torch.Tensor]]) -> Callable[[], None]:
    own = copy.deepcopy(detector).train()
    optimizer = torch.optim.AdamW(own.parameters(), lr=1e-5)

    def step() -> None:
        loss = torch.stack(list(losses_of(own).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def largest_difference(detector: nn.Module, images: list, targets: list) -> tuple[float, int]:
    """Of losses and gradients at alpha = 0 to torchvision's own, and how many numbers were compared."""
    objective = drkd.dr_kd(AtPositions(copy.deepcopy(detector)), alpha=0.0)
    found = []
    for ours in (False, True):
        own = copy.deepcopy(detector).train()
        torch.manual_seed(1)
        losses = detector_losses(own, images, targets, objective)[0] if ours else own(images, targets)
        torch.stack(list(losses.values())).sum().backward()
        gradients = [parameter.grad.flatten() for parameter in own.parameters() if parameter.grad is not None]
        found.append(torch.cat([torch.stack(list(losses.values())).detach(), *gradients]))
    return float((found[0] - found[1]).abs().max()), len(found[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--models", default=MODELS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(environment())
    for name in options.models.split(","):
        torch.manual_seed(0)
        detector = create_detector(name, num_classes=3, image_size=options.size)
        images, targets = batch(options.batch, options.size)
        difference, numbers = largest_difference(detector, images, targets)
        teacher = AtPositions(copy.deepcopy(detector))
        objectives = {
            "cross_entropy": drkd.cross_entropy(),
            "label_smoothing": drkd.label_smoothing(0.1),
            "tf_kd_self": drkd.tf_kd_self(teacher),
            "dr_kd": drkd.dr_kd(teacher),
        }
        plain = lambda own, data=(images, targets): own(*data)  # noqa: E731
        reordered = copy.deepcopy(detector).to(memory_format=torch.channels_last)  # as drkd trains
        contenders = {"torchvision": stepper(detector, plain), "channels last": stepper(reordered, plain)}
        for method, objective in objectives.items():
            contenders[method] = stepper(
                detector,
                lambda own, data=(images, targets), objective=objective: detector_losses(own, *data, objective)[0],
            )
        seconds = take_turns(contenders, rounds=options.rounds, clock=time.process_time)
        print(f"{name}: largest difference at alpha = 0 over {numbers:,} losses and gradients: {difference:g}")
        for method, times in seconds.items():
            ratio = ratios(times, seconds["torchvision"])
            print(
                f"  {method:<16} {1000 * spread(times)['median']:8.1f} ms   x {ratio['median']:.2f} "
                f"[{ratio['min']:.2f}, {ratio['max']:.2f}]",
                flush=True,
            )


if __name__ == "__main__":
    main()
