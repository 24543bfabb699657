"""What the networks of the papers' public code count, as computed from that code: the numbers that ours are held to."""

from typing import NamedTuple


class Counts(NamedTuple):
    """Of one network; None where the public code does not run or does not say."""

    parameters: int
    """At 100 classes."""
    macs32: float
    """Multiply-adds in millions, 32x32 images, 100 classes, to one decimal."""
    macs64: float | None = None
    """The same with 64x64 images and 200 classes."""


PUBLISHED = {
    "mobilenetv2": Counts(2_369_380, 64.9, 215.7),
    "shufflenetv2": Counts(1_360_896, 43.7, 174.5),
    "resnet18": Counts(11_220_132, 555.5),
    "resnet34": Counts(21_328_292, 1159.4),
    "resnet50": Counts(23_705_252, 1298.0),
    "resnet101": Counts(42_697_380, 2510.2),
    "googlenet": Counts(6_258_500, 1521.8, 6087.2),
    "densenet121": Counts(7_048_548, 888.4, 3553.6),
    "resnext29_8x64d": Counts(34_518_948, 5387.4),
    "alexnet": Counts(2_495_396, 15.0),
    "wrn16_2": Counts(703_284, 101.1),
    "wrn40_2": Counts(2_255_156, 327.6),
    "wrn28_10": Counts(36_536_884, 5243.4),
    "cnn": Counts(369_124, 10.6),
}
