"""One training on several devices: a process for each, started, watched and ended together by torch's launcher.

Under `torchrun` this is not needed: the command trains in the processes that are there.
"""

import hashlib
import logging
import os
import re
import signal
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from drkd.config import TrainConfig
from drkd.runs.events import OnEvent, ignore_event
from drkd.runs.training import Source, train
from drkd.training import signals
from drkd.utils.device import choose_device
from drkd.utils.distributed import process_group, rank
from drkd.utils.errors import InputError, NonFiniteLossError, StorageError
from drkd.utils.machine import processor_count
from drkd.utils.workers import worker_context

PORT = "29400"
"""Of the first machine, where MASTER_PORT names no other."""

LOST_PEER = "Connection (closed|reset) by peer"
"""What a process says whose launcher notices it before the one that died."""


def train_on_devices(config: TrainConfig, source: Source, out: Path, on_event: OnEvent) -> None:
    """`drkd.runs.training.train` in `config.devices` processes on each of `config.num_nodes` machines.

    With several machines the same command runs on each of them, with MASTER_ADDR set to the first one. If a process
    dies, the others are ended.

    Raises:
        InputError: where there are fewer devices, or nobody says which machine is the first.
        RuntimeError: when a process fails; its own message.
    """
    device = choose_device(config.device)
    there = torch.accelerator.device_count() if device.type != "cpu" else config.devices
    if config.devices > there:
        raise InputError(f"--devices {config.devices}, but there are {there} of {device}; use fewer, or --device cpu")
    address = os.environ.get("MASTER_ADDR")
    if config.num_nodes > 1 and address is None:
        raise InputError("--num-nodes needs MASTER_ADDR, the name of the first machine, in the environment of each")
    launch = LaunchConfig(
        min_nodes=config.num_nodes,
        max_nodes=config.num_nodes,
        nproc_per_node=config.devices,
        rdzv_backend="c10d",
        rdzv_endpoint=f"{address}:{os.environ.get('MASTER_PORT', PORT)}" if config.num_nodes > 1 else "localhost:0",
        run_id=hashlib.sha256(str(out).encode()).hexdigest(),  # alike on all machines, and a name for a folder
        max_restarts=0,
        monitor_interval=0.1,
        start_method=worker_context("drkd.runs.training").get_start_method(),
    )
    threads = config.threads or (max(1, processor_count() // config.devices) if device.type == "cpu" else None)
    logging.disable(logging.ERROR)  # the launcher's own output; its errors become one line
    try:
        elastic_launch(launch, _work)(config.model_copy(update={"threads": threads}), source, out, device, on_event)
    except ChildFailedError as reason:
        number, failure = reason.get_first_failure()
        said = _said(failure)
        for error in (InputError, NonFiniteLossError, StorageError):
            if said.startswith(f"{error.__name__}: "):
                raise error(said.removeprefix(f"{error.__name__}: ")) from reason
        raise RuntimeError(f"process {number} of {config.devices * config.num_nodes} {said}") from reason
    except SignalException as reason:  # the processes have saved and left
        raise KeyboardInterrupt if reason.sigval == signal.SIGINT else SystemExit(128 + reason.sigval) from reason


def _work(config: TrainConfig, source: Source, out: Path, device: torch.device, on_event: OnEvent) -> None:
    """What each process does."""
    signals.patient = True  # the launcher passes on what its process group has got already
    with process_group(device):
        train(config, source, out, on_event=on_event if rank() == 0 else ignore_event)


def _said(failure: ProcessFailure) -> str:
    """A process's error, the name first; how it ended where it had none."""
    message = (failure.error_file_data or {}).get("message")
    if isinstance(message, dict) and not re.search(LOST_PEER, str(message["message"])):
        return str(message["message"])
    how = (
        f"was killed by signal {-failure.exitcode}"
        if failure.exitcode < 0
        else f"ended with exit code {failure.exitcode}"
    )
    if isinstance(message, dict):
        how = "lost the connection to another one, which may have been killed"
    return f"{how}; the others were stopped; resume with --resume"
