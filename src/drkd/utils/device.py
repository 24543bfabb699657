"""The device that computes, and how this process uses it."""

import ctypes
import os
import sys

import torch
from torch import Tensor

from drkd.utils.errors import InputError
from drkd.utils.machine import check_threads

MMAP_MAX, TRIM_THRESHOLD = -4, -1
"""glibc's numbers (malloc.h) of the largest count of allocations that are mapped alone, and of the free memory from
which the heap is cut."""


def choose_device(name: str) -> torch.device:
    """The accelerator of this machine, or the processor, for `auto`; any other device by its name, if it works.

    Raises:
        InputError: for a device that cannot be used here.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return torch.device("cpu" if accelerator is None else accelerator.type)
    try:
        torch.zeros(1, device=name).item()  # there are devices without data, such as meta
    except (RuntimeError, AssertionError, NotImplementedError) as reason:
        raise InputError(f"the device {name!r} cannot be used here: {str(reason).splitlines()[0]}") from reason
    return torch.device(name)


def this_device(device: torch.device | str) -> torch.device:
    """`device` with its number: a thread of its own would take the first GPU for `cuda`, whichever its process uses.

    Example:
        >>> this_device("cpu")
        device(type='cpu')
    """
    device = torch.device(device)
    if device.type != "cuda" or device.index is not None:
        return device
    return torch.device("cuda", torch.cuda.current_device())


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`, without waiting for the copy: to a GPU it goes through pinned memory.

    From memory that is not pinned, CUDA first finishes all that the GPU was given to do.

    Example:
        >>> send(torch.ones(2), torch.device("cpu"))
        tensor([1., 1.])
    """
    pinned = tensor.pin_memory() if device.type == "cuda" and tensor.device.type == "cpu" else tensor
    return pinned.to(device, non_blocking=True)


def set_up_process(threads: int | None, *, deterministic: bool = False) -> None:
    """Set the number of torch's threads (None: as torch chooses), and have glibc keep the memory that is freed.

    Without that, every tensor above 32 MB, so every larger activation of every step, goes back to the system when it
    is freed, and its pages are made and zeroed again in the next step: a twentieth of a step of MobileNetV2, and half
    of it where the system is slow to give out memory (docs/speed.md). The price: a process keeps the peak of
    its training, until `give_back_memory`. With another C library nothing changes.

    Args:
        threads: processor threads.
        deterministic: use the same algorithms every time on an accelerator too.

    Raises:
        InputError: for more threads than this machine has processors.
    """
    check_threads("--threads", threads)
    if threads is not None:
        torch.set_num_threads(threads)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, -1)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the first product on the device
        torch.use_deterministic_algorithms(True)


def give_back_memory() -> None:
    """Give the memory that `set_up_process` has glibc keep back to the system: the next training needs other blocks.

    Without that, blocks that fit nothing pile up from training to training.

    Example:
        >>> give_back_memory()
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(ctypes.c_size_t(0))
