"""What makes the same training faster: how weights lie in memory, whether the student's pass is compiled.

None changes the result by more than rounding. What `auto` chooses depends on the network and the settings, never on a
clock, so that a run and its resumption choose alike. The figures behind both rules are in docs/speed-tables.md.
"""

import math
import os
import shutil
import warnings
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from drkd.models.counting import count_macs
from drkd.utils.errors import InputError

MemoryFormat = Literal["auto", "contiguous", "channels_last"]
Compile = Literal["auto", "on", "off"]

COMPILE_FROM = 1e14
"""Multiply-adds of a training from which `auto` compiles on a processor: an hour or so of two cores. Compiling takes
up to two minutes."""

USES_OF_A_WEIGHT = 16
"""Per value of an image, and no more, in any network: one layer uses a weight once per pixel of its output, which may
lie larger than the image, and a layer may be called again. It spares short trainings the count of multiply-adds."""


def choose_memory_format(choice: MemoryFormat, student: nn.Module) -> torch.memory_format:
    """How the weights of `student` and of its teachers lie in memory; `auto`: channels last where it convolves.

    Example:
        >>> choose_memory_format("auto", nn.Conv2d(3, 8, 3)), choose_memory_format("auto", nn.Linear(3, 8))
        (torch.channels_last, torch.contiguous_format)
    """
    convolves = any(isinstance(layer, nn.Conv2d) for layer in student.modules())
    return (
        torch.channels_last
        if choice == "channels_last" or (choice == "auto" and convolves)
        else torch.contiguous_format
    )


def should_compile(
    choice: Compile, student: nn.Module, image: tuple[int, ...], *, images: int, device: torch.device
) -> bool:
    """Whether to compile a training on `images` images in all epochs together, of shape (C, H, W) or any other.

    `auto` compiles a long training on a processor where a C++ compiler is; on an accelerator it does not, for lack of
    measurements.
    """
    if choice != "auto" or device.type != "cpu" or not has_compiler():
        return choice == "on"
    weights = sum(weight.numel() for weight in student.parameters())
    if 3 * weights * USES_OF_A_WEIGHT * math.prod(image) * images < COMPILE_FROM:
        return False
    try:
        macs = count_macs(student, image)
    except Exception:  # a network that cannot run on shapes alone says so in its own way
        return False
    return 3 * macs * images >= COMPILE_FROM  # forward, and the two products of backward


def has_compiler() -> bool:
    """Whether torch finds a C++ compiler."""
    return any(shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++") if name)


class Compiled:
    """A network whose full batches are compiled; those of another size take the network as it is.

    Args:
        network: called with a batch of inputs.
        batch_size: of a full batch.
        required: whether a network that cannot be compiled is an error, or a warning and no more.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], batch_size: int, *, required: bool) -> None:
        if required and not has_compiler() and not torch.accelerator.is_available():
            raise InputError("compiling needs a C++ compiler, and there is none; install g++, or use --compile off")
        self.network = network
        self.batch_size = batch_size
        self.required = required
        self.fast: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=False)
        self.tried = False

    def __call__(self, inputs: Tensor) -> Tensor:
        if len(inputs) != self.batch_size:
            return self.network(inputs)
        if self.tried:
            return self.fast(inputs)
        self.tried = True
        try:
            return self.fast(inputs)
        except Exception as reason:  # the compiler raises any error
            what = f"the network cannot be compiled ({type(reason).__name__}: {str(reason).splitlines()[0]})"
            if self.required:
                raise InputError(f"{what}; use --compile off") from reason
            warnings.warn(f"{what}; training runs uncompiled", stacklevel=2)
            self.fast = self.network
            return self.fast(inputs)
