"""What tests run in other processes; those import this file by its name."""

import os
import time

import torch
import torch.distributed as dist

import drkd
from drkd import NonFiniteLossError
from drkd.methods.registry import create


def train(rank, world_size, port, out):
    torch.set_num_threads(1)
    if world_size > 1:
        address = f"tcp://127.0.0.1:{port}"
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world_size)
    histories = {}
    for method, samples in (("dr_kd", 101), ("ps_kd", 101), ("ols", 101), ("cs_kd", 101), ("dlb", 100)):
        data = drkd.load_data("digits", limit_train=samples)
        torch.manual_seed(0)
        student = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        torch.manual_seed(1)
        teacher = drkd.create_model("mlp", num_classes=10, image_size=8, channels=1)
        objective = create(method, {}, teacher=teacher, epochs=3)
        done = drkd.fit(student, objective, data, epochs=3, batch_size=25)
        histories[method] = (done.history, {name: value.clone() for name, value in student.state_dict().items()})
    torch.save(histories, out / f"{world_size}-{rank}.pt")
    if world_size > 1:
        dist.destroy_process_group()


def work(argument, report):
    report(f"starting {argument}")
    if argument == "diverges":
        raise NonFiniteLossError("boom")
    if argument == "breaks":
        raise ZeroDivisionError
    return argument, time.monotonic(), os.getpid(), torch.get_num_threads()
