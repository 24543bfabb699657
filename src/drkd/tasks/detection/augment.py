"""What training does to images with boxes beside mirroring them: torchvision's transforms, replayable by a seed."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from drkd.utils.errors import InputError

Target = dict[str, Tensor]

OPERATIONS = ("jitter", "zoom", "crop")
"""In the order in which they are done."""

RECIPES = {"none": (), "flip": ("flip",), "ssd": ("flip", *OPERATIONS), "ssdlite": ("flip", "crop")}
"""Names of several; `ssd` and `ssdlite` are what torchvision trained its own detectors with."""


def parse_augmentation(text: str) -> tuple[bool, tuple[str, ...]]:
    """Whether `--augment` mirrors images, and what else it does.

    Raises:
        InputError: for unknown names, and for none beside others.

    Example:
        >>> parse_augmentation("flip+crop"), parse_augmentation("ssd")
        ((True, ('crop',)), (True, ('jitter', 'zoom', 'crop')))
    """
    names = text.split("+")
    known = (*RECIPES, *OPERATIONS)
    if strange := [name for name in names if name not in known]:
        raise InputError(
            f"--augment of detection should be {', '.join(known[:-1])} or {known[-1]}, or several with + between them, "
            f"got {strange[0]!r}"
        )
    if len(names) > 1 and "none" in names:
        raise InputError(f"--augment {text} combines none with others; leave one of them out")
    found = {part for name in names for part in RECIPES.get(name, (name,))}
    return "flip" in found, tuple(name for name in OPERATIONS if name in found)


def apply(names: tuple[str, ...], image: Tensor, target: Target, *, seed: int) -> tuple[Tensor, Target]:
    """An image uint8 (3, H, W) and its boxes after some `OPERATIONS`, which draw their random numbers from `seed`.

    Boxes whose centre is cut off are dropped; size and number of boxes may change.
    """
    from torchvision import tv_tensors

    size = image.shape[-2:]
    boxes = tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=size)
    sample: dict[str, Any] = {"image": tv_tensors.Image(image), "boxes": boxes, "labels": target["labels"]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in names:
            if name != "crop" or len(sample["boxes"]):  # it looks for a part with a box
                sample = _transform(name)(sample)
    return sample["image"].as_subclass(Tensor), {
        "boxes": sample["boxes"].as_subclass(Tensor),
        "labels": sample["labels"],
    }


@cache
def _transform(name: str) -> Any:
    from torchvision.transforms import v2

    if name == "jitter":
        return v2.RandomPhotometricDistort()
    if name == "zoom":
        return v2.RandomZoomOut(fill=(123, 117, 104), side_range=(1.0, 4.0))
    return v2.Compose([v2.RandomIoUCrop(), v2.SanitizeBoundingBoxes()])
