"""`run_epochs`: the loop that every training goes through, whatever it trains.

A batch goes: loader -> `step` -> `objective.update`. After an epoch's last batch the validation split is measured, the
weights are kept where they are the best so far, a row is written, and a checkpoint when one is due. SIGINT and SIGTERM
wait for the step at hand and a checkpoint after it. What a step is, and what is measured, is said by who calls:
`drkd.training.fit`, `drkd.training.together`, `drkd.tasks.detection.training`.
"""

import csv
import io
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from drkd.training.checkpoint import CheckpointPolicy, TrainResult, TrainState
from drkd.training.signals import deferred
from drkd.training.step import NonFiniteGuard
from drkd.utils.distributed import wait_for_all
from drkd.utils.files import write_text

Row = dict[str, float]

Select = Literal["best", "last"]
"""Which epoch's weights are kept: those best on the validation split, or the last."""

BatchT = TypeVar("BatchT")
BatchT_co = TypeVar("BatchT_co", covariant=True)


class Batches(Protocol[BatchT_co]):
    """A loader; its length is the number of batches of an epoch."""

    def __len__(self) -> int: ...

    def batches(self, epoch: int, start: int) -> Iterable[BatchT_co]: ...


def run_epochs(
    state: TrainState,
    loader: Batches[BatchT],
    *,
    epochs: int,
    step: Callable[[BatchT], bool],
    measure: Callable[[int], Sequence[Row]],
    metric: str | None,
    watch: NonFiniteGuard,
    outs: Sequence[Path] = (),
    checkpoints: Path | None = None,
    checkpoint_every: str | int = "epoch",
    on_epoch: Callable[[int, Row], None] | None = None,
) -> None:
    """Go on from where `state` is, to the last step.

    Args:
        state: what is trained, how far it is, and at the end the weights that are to be kept. Its history holds the
            rows of an epoch one after the other where several trainings share the loop.
        loader: serves the training split.
        epochs: of the whole training.
        step: makes an optimizer step from a batch and adds its numbers to `state.sums`; False where it was skipped.
        measure: gives the row of an epoch, one per training in the loop.
        metric: keep the epoch with the highest; None keeps the last.
        watch: over the losses.
        outs: of each training, for `metrics.csv` and `timing.csv`; none are written without.
        checkpoints: their folder; none are written without.
        checkpoint_every: see `drkd.fit`.
        on_epoch: called with the place of a training in the loop and its new row, before a checkpoint is written.
    """
    objective, done, due = state.objective, state.done, CheckpointPolicy(checkpoint_every)
    steps_per_epoch = len(loader)
    steps = epochs * steps_per_epoch
    objective.progress, objective.epoch = done.step / steps, done.step // steps_per_epoch

    with deferred() as pending:
        while done.step < steps:
            epoch, first = divmod(done.step, steps_per_epoch)
            started, earlier = time.perf_counter(), done.seconds
            state.student.train()
            objective.train()
            for batch in loader.batches(epoch, start=first):
                stepped = step(batch)
                done.step += 1
                if stepped:
                    objective.update(progress=done.step / steps, epoch=done.step // steps_per_epoch)
                else:
                    objective.discard()
                done.seconds = earlier + time.perf_counter() - started
                stop = pending.agreed(watch.device, done.step)
                if done.step % steps_per_epoch:
                    if checkpoints is not None and (stop or due.after_step(done.step)):
                        state.save(checkpoints, best=False)
                    if stop:
                        wait_for_all()
                        pending.obey()
            watch.report()

            rows = measure(epoch)
            state.sums = {}
            done.history += rows
            best = [i for i in range(len(rows)) if chosen_epoch(done.history[i :: len(rows)], metric) == epoch]
            if metric is None:
                state.best = {name: tensor.detach() for name, tensor in state.student.state_dict().items()}
            elif best:
                state.keep(best, among=len(rows))
            done.seconds = earlier + time.perf_counter() - started
            done.seconds_per_epoch.append(done.seconds - sum(done.seconds_per_epoch))
            if on_epoch is not None:
                for path, row in enumerate(rows):
                    on_epoch(path, row)
            at_end = done.step == steps  # a checkpoint there too: what follows may be cut
            save = checkpoints is not None and (stop or due.after_epoch(done.step) or at_end)
            if len(rows) == 1 or save or at_end:  # many files each epoch would take a good part of it
                write_rows(outs, done, len(rows), metric)
            if checkpoints is not None and save:
                state.save(checkpoints, best=len(rows) == len(best) == 1)
            if stop:
                wait_for_all()
                pending.obey()


def chosen_epoch(history: Sequence[Row], metric: str | None) -> int:
    """The last of those with the highest `metric`, or the last of all.

    Example:
        >>> history = [{"val_accuracy": 0.5}, {"val_accuracy": 0.7}, {"val_accuracy": 0.6}]
        >>> chosen_epoch(history, "val_accuracy"), chosen_epoch(history, None)
        (1, 2)
    """
    last = len(history) - 1
    return last if metric is None else max(range(last + 1), key=lambda epoch: (history[epoch][metric], epoch))


def one_by_one(done: TrainResult, trainings: int, metric: str | None) -> list[TrainResult]:
    """How each of the trainings that shared a loop went; the seconds are shared out among them."""
    histories = [done.history[path::trainings] for path in range(trainings)]
    return [
        TrainResult(
            history=history,
            best_epoch=chosen_epoch(history, metric),
            step=done.step,
            seconds=done.seconds / trainings,
            seconds_per_epoch=[seconds / trainings for seconds in done.seconds_per_epoch],
        )
        for history in histories
    ]


def write_rows(outs: Sequence[Path], done: TrainResult, trainings: int, metric: str | None) -> None:
    """`metrics.csv` and `timing.csv` of each training. Not flushed to the disk: checkpoints hold the same."""
    for out, own in zip(outs, one_by_one(done, trainings, metric), strict=bool(outs)):
        seconds = [{"epoch": epoch, "seconds": spent} for epoch, spent in enumerate(own.seconds_per_epoch)]
        write_text(out / "metrics.csv", rows_as_csv(own.history), flush=False)
        write_text(out / "timing.csv", rows_as_csv(seconds), flush=False)


def rows_as_csv(rows: Sequence[Mapping[str, float]]) -> str:
    """Rows under the names of all that any of them has."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def warn_if_nothing_was_rectified(method: str, history: Sequence[Row]) -> None:
    """Then rectification cannot have helped, and who compares methods should know."""
    if "rectified" in history[-1] and not any(row["rectified"] for row in history):
        warnings.warn(f"`{method}` had nothing to rectify: its teacher made no mistake in training", stacklevel=3)
