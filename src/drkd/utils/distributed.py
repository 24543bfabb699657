"""The little that a training knows of other processes: who it is, and how sums are added up.

Under `torchrun` every process runs the same program; elsewhere there is one rank, 0 of 1.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

ValueT = TypeVar("ValueT")


def rank() -> int:
    """This process among `world_size()`."""
    return dist.get_rank() if _running() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _running() else 1


def add_up(values: Tensor) -> Tensor:
    """The sum of `values` over all ranks, on every rank."""
    if not _running():
        return values
    there = values.clone()  # the sum is made in place
    there = there.to("cuda") if dist.get_backend() == "nccl" else there  # which sums up on GPUs only
    dist.all_reduce(there)
    return there.to(values.device)


def gather(rows: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Every rank's pair of tensors, in the order of the ranks; they may differ in length."""
    if not _running():
        return [rows]
    device = rows[0].device
    everyone: list[tuple[Tensor, Tensor]] = [rows] * world_size()
    dist.all_gather_object(everyone, (rows[0].cpu(), rows[1].cpu()))
    return [(first.to(device), second.to(device)) for first, second in everyone]


def from_rank_0(value: ValueT) -> ValueT:
    """Rank 0's `value`, on every rank: what is decided by it is decided alike."""
    if not _running():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def copy_from_rank_0(tensors: Iterable[Tensor]) -> None:
    """Give tensors, in place, the values that rank 0's have."""
    if not _running():
        return
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor)
    for together in by_type.values():
        values = torch.cat([tensor.detach().flatten() for tensor in together])
        dist.broadcast(values, src=0)
        parts = torch.split(values, [tensor.numel() for tensor in together])
        for tensor, part in zip(together, parts, strict=True):
            tensor.detach().copy_(part.view_as(tensor))


def wait_for_all() -> None:
    """Go on when every rank is here."""
    if _running():
        dist.barrier()


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other processes where `torchrun` started this one; leave them at the end."""
    if "RANK" not in os.environ or _running():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def _running() -> bool:
    return dist.is_available() and dist.is_initialized()
