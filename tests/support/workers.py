"""What tests run in other processes; those import this file by its name."""

import os
import time

import torch
import torch.distributed as dist

import drkd
from drkd import NonFiniteLossError
from drkd.methods.registry import create
from drkd.runs.events import EpochDone
from drkd.runs.summary import RunSummary
from drkd.training.metrics import Metrics


def train(rank, world_size, port, out):
    torch.set_num_threads(1)
    if world_size > 1:
        address = f"tcp://127.0.0.1:{port}"
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world_size)
    histories = {}
    cases = ("dr_kd", "ps_kd", "ols", "cs_kd", "dlb", "dr_kd, some ignored", "dlb, some ignored", "cs_kd, weighted")
    for case in cases:
        method, _, special = case.partition(", ")
        data = drkd.load_data("digits", limit_train=101)
        if special == "some ignored":
            data.train.labels[::3] = -100
        torch.manual_seed(0)
        student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        torch.manual_seed(1)
        teacher = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        weighted = [0.1 * 2**label for label in range(10)] if special == "weighted" else None
        sampler = "balanced" if weighted else "shuffled"
        objective = create(method, {}, teacher=teacher, epochs=3, class_weights=weighted)
        done = drkd.fit(student, objective, data, epochs=3, batch_size=25, sampler=sampler)
        histories[case] = (done.history, {name: value.clone() for name, value in student.state_dict().items()})
    torch.save(histories, out / f"{world_size}-{rank}.pt")
    if world_size > 1:
        dist.destroy_process_group()


def work(argument, on_event):
    """A summary that says by which process the work was done, with how many threads, and when it began."""
    on_event(EpochDone(argument, {"epoch": 0}))
    if argument == "diverges":
        raise NonFiniteLossError("boom")
    if argument == "breaks":
        raise ZeroDivisionError
    return RunSummary(
        method=argument,
        seed=os.getpid(),
        epochs=torch.get_num_threads(),
        best_epoch=0,
        select="last",
        train_accuracy=None,
        val=None,
        test=Metrics(accuracy=1.0, nll=0.0, ece=0.0, aurc=0.0, reliability=[]),
        kept_epochs={},
        rectified_fraction_per_epoch=None,
        teacher=None,
        teacher_train_accuracy=None,
        teacher_seconds=0.0,
        train_seconds=0.0,
        skipped_images={},
        wall_seconds=time.monotonic(),
    )
