"""A segmenter by hand, whose masks are known; and small trainings that are made up."""

import numpy as np
import torch
from torch import nn

from drkd.models.files import ModelInfo, write_model
from drkd.tasks.segmentation import SegmentationData, SegmentationSplit, create_segmenter
from drkd.tasks.segmentation.augment import PLAIN, PairAugmentation
from shapes import COLOURS

SIZE = 64
CLASSES = ("ground", "disc", "=square")
OF_CLASS = np.array([(128, 128, 128), COLOURS["disc"], COLOURS["square"]])


def by_colour(num_classes):
    """A network that gives each pixel the class of `shapes` whose colour is nearest."""
    network = nn.Conv2d(3, num_classes, 1)
    colours = torch.tensor(OF_CLASS, dtype=torch.float32) / 255
    network.weight.data = 2 * colours[:, :, None, None]
    network.bias.data = -(colours**2).sum(1)
    return network


def write_by_colour(out, classes=CLASSES):
    """Its model file, for which `by_colour` must be among the segmenters."""
    out.mkdir()
    info = ModelInfo("by_colour", classes, SIZE, 3, (0.0,) * 3, (1.0,) * 3, task="segmentation")
    write_model(out / "model.safetensors", by_colour(3).state_dict(), info)
    return out


MOVED = PairAugmentation((0.5, 2.0), flip=True)
ALL = PairAugmentation((0.5, 2.0), flip=True, jitter=(0.4, 0.4, 0.4, 0.1))


def made_up(augmentation=PLAIN, size=16, count=7):
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(256, (count, 3, size, size), generator=generator).byte()
    masks = (images[:, 0] // 86).clone()
    masks[:, 0] = 255
    split = SegmentationSplit.of(images, masks)
    three = (split, split.select(torch.tensor([1, count - 1])), split)
    return SegmentationData("made up", ("a", "b", "c"), size, *three, augmentation=augmentation)


def small(seed=0, *, batch_norm=True):
    torch.manual_seed(seed)
    made = create_segmenter("small_fcn", num_classes=3)
    for block in () if batch_norm else (*made.fine, *made.coarse):
        block[1] = nn.Identity()
    return made


class CrashError(Exception):
    pass


def crash_at(step, network):
    """The network, whose training raises in its pass number `step`, counted from 0."""
    steps = []

    def count(module, given, made):
        if network.training:
            steps.append(1)
            if len(steps) == step + 1:
                raise CrashError

    network.fine.register_forward_hook(count)
    return network
