"""What tests run in other processes; those import this file by its name."""

import contextlib
import json
import os
import time

import torch
import torch.distributed as dist
from torch import nn

import drkd
from detectors import batch, make
from drkd import InputError, NonFiniteLossError
from drkd.methods.registry import create
from drkd.runs.directory import LOCK, new_run_dir, one_writer
from drkd.runs.events import EpochDone
from drkd.runs.summary import RunSummary
from drkd.tasks.detection import AtPositions, DetectionData, DetectionSplit
from drkd.tasks.segmentation import MainOutput
from drkd.tasks.segmentation.augment import PLAIN
from drkd.training.metrics import Metrics
from drkd.utils.locks import locked
from segmenters import ALL, MOVED, CrashError, crash_at, made_up, small


def train(rank, world_size, port, out):
    torch.set_num_threads(1)
    if world_size > 1:
        address = f"tcp://127.0.0.1:{port}"
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world_size)
    histories = {}
    cases = (
        *("dr_kd", "ps_kd", "ols", "cs_kd", "dlb", "dr_kd, some ignored", "dlb, some ignored"),
        *("dr_kd, head first", "cs_kd, weighted", "cross_entropy, a class ignored"),
    )
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
        objective = create(method, {}, teacher=teacher, epochs=3, class_weights=weighted)
        if special == "a class ignored":
            objective.ignore_index = 0
        how = {"head_epochs": int(special == "head first"), "sampler": "balanced" if weighted else "shuffled"}
        done = drkd.fit(student, objective, data, epochs=3, batch_size=25, **how)
        histories[case] = (done.history, {name: value.clone() for name, value in student.state_dict().items()})
    for average in ("ema:0.6", "swa:0"):
        data = drkd.load_data("digits", limit_train=101)
        torch.manual_seed(0)
        layers = (nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))
        student = nn.Sequential(nn.Flatten(), *layers)
        done = drkd.fit(student, drkd.cross_entropy(), data, epochs=2, batch_size=26, average=average, select="last")
        histories[average] = (done.history, student.state_dict())
    histories |= {f"detector, {family}": train_detector(family) for family in ("ssd", "retina")}
    histories |= {f"segmenter, {case}": train_segmenter(case) for case in ("dr_kd", "ps_kd", "weighted")}
    torch.save(histories, out / f"{world_size}-{rank}.pt")
    if world_size > 1:
        resume_segmenter(out / "segmenter")
        (out / f"writer-{rank}.json").write_text(json.dumps(write_together(rank, out)))
        dist.destroy_process_group()


def train_detector(family):
    """Without batch norm, on batches of 3 and 4 images; what a rank's positives are is not what the other's are."""
    drawn = [[side[2] for side in batch(3, seed=seed)] for seed in range(9)]  # of one size: a batch pads to its largest
    split = DetectionSplit.of([(255 * image).to(torch.uint8) for image, _ in drawn], [target for _, target in drawn])
    parts = {"train": split.select(range(7)), "val": split.select([7, 8]), "test": split.select([])}
    data = DetectionData("made up", ("a", "b", "c"), 64, **parts)
    student, teacher = make(family), make(family, seed=1)
    for network in (student, teacher):
        network.backbone.first[1] = nn.Identity()
    objective = drkd.dr_kd(AtPositions(teacher), alpha=0.4)
    done = drkd.fit(student, objective, data, epochs=2, batch_size=3, optimizer="sgd", lr=0.01, select="last")
    return done.history, {name: value.clone() for name, value in student.state_dict().items()}


def train_segmenter(case):
    """Without batch norm, on batches of 3 and 4 images, of whose pixels differing numbers count."""
    data = made_up(PLAIN if case == "ps_kd" else MOVED)
    student, teacher = small(batch_norm=False), small(seed=1, batch_norm=False)
    weights = "balanced" if case == "weighted" else None
    name = case if case == "ps_kd" else "dr_kd"
    objective = create(name, {}, teacher=MainOutput(teacher), epochs=2, class_weights=weights)
    options = {"head_epochs": 1} if weights else {}
    done = drkd.fit(
        student, objective, data, epochs=2, batch_size=3, optimizer="sgd", lr=0.02, select="last", **options
    )
    return done.history, {name: value.clone() for name, value in student.state_dict().items()}


def resume_segmenter(out):
    """With batch norm, of which every rank has statistics of its own, and their average as the teacher."""

    def fit(folder, student, **more):
        objective = drkd.online_dr_kd(source=drkd.targets.Ema(MainOutput(student), decay=0.5), alpha=0.5)
        how = {"epochs": 2, "batch_size": 3, "lr": 0.02, "checkpoint_every": 1}
        done = drkd.fit(student, objective, made_up(ALL), out=out / folder, **how, **more)
        return done.history, list(student.state_dict().values())

    whole = fit("whole", small())
    with contextlib.suppress(CrashError):
        fit("part", crash_at(3, small()))
    again = fit("part", small(), resume=True)
    assert [row["val_miou"] for row in again[0]] == [row["val_miou"] for row in whole[0]]
    assert all(map(torch.equal, again[1], whole[1]))


def write_together(rank, out):
    """What a rank finds in a run directory of its training, and where a process that is none of them writes."""
    os.chdir(out)
    ours = new_run_dir("train")
    with one_writer(ours):
        dist.barrier()  # all are inside
        found = {"folder": str(ours), "pid": os.getpid(), "lock": (ours / LOCK).read_text()}
        dist.barrier()
    taken = out / "taken"
    with contextlib.ExitStack() as stack:
        if rank == 1:
            taken.mkdir()
            stack.enter_context(locked(taken / LOCK))
        dist.barrier()
        try:
            stack.enter_context(one_writer(taken))
        except InputError as reason:
            found["refused"] = str(reason)
        dist.barrier()
    return {**found, "left": (ours / LOCK).exists()}


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
