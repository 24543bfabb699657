"""The loop that every training goes through, whatever it trains; it reads from top to bottom.

A batch goes: loader -> `Stepper.step` (losses, backward, optimizer) -> `objective.update`. After an epoch's last batch
the validation split is measured, the weights are kept where they are the best so far, a row is written, and a
checkpoint when one is due. Where weights are averaged, it is the average that is measured and kept. SIGINT and SIGTERM
wait for the current step and a checkpoint after it.
"""

import csv
import io
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from drkd.config import FitSettings
from drkd.objective.protocol import end_step
from drkd.training.checkpoint import CheckpointPolicy, TrainResult, TrainState
from drkd.training.signals import deferred
from drkd.training.step import Stepper
from drkd.utils.distributed import wait_for_all
from drkd.utils.files import write_text
from drkd.utils.progress import Meter

SECONDS_BETWEEN_ROWS = 1.0
"""How often `metrics.csv` is written at most between checkpoints: an epoch of a small network takes milliseconds."""

Row = dict[str, float]
"""What is known of an epoch, by column of `metrics.csv`."""


def run_epochs(
    state: TrainState,
    stepper: Stepper[Any],
    settings: FitSettings,
    *,
    metric: str | None,
    out: Path | None = None,
    on_epoch: Callable[[Row], None] | None = None,
) -> None:
    """Train from where `state` is to the last step.

    Args:
        state: what is trained, its progress, and at the end the weights to keep.
        stepper: makes a step of a batch, and the row of an epoch.
        settings: of the training.
        metric: keep the epoch with the highest, of those that have an average if there is to be one; None keeps the
            last.
        out: run directory for `metrics.csv`, `timing.csv` and checkpoints; nothing is written without.
        on_epoch: called with each new row, before a checkpoint is written; the student is then as it would be kept.
    """
    objective, result, average = state.objective, state.result, state.average
    first_choice = 0 if average is None else average.first_epoch
    policy, checkpoints = CheckpointPolicy(settings.checkpoint_every), None if out is None else out / "checkpoints"
    steps_per_epoch = stepper.steps_per_epoch
    steps = settings.epochs * steps_per_epoch
    objective.progress, objective.epoch = result.step / steps, result.step // steps_per_epoch

    written = -math.inf
    with deferred() as signals:
        while result.step < steps:
            epoch, first = divmod(result.step, steps_per_epoch)
            started, earlier = time.perf_counter(), result.seconds
            stepper.begin(epoch)
            meter = Meter(f"epoch {epoch}", steps_per_epoch, "steps")
            for batch in stepper.learner.loader.batches(epoch, start=first):
                stepped = stepper.step(batch)
                result.step += 1
                completed = result.step // steps_per_epoch
                end_step(objective, made=stepped, progress=result.step / steps, epoch=completed)
                if stepped and average is not None:
                    average.after_step()
                now = time.perf_counter()
                result.seconds = earlier + now - started
                if now >= meter.due:
                    meter.report((result.step - 1) % steps_per_epoch + 1, state.sums.mean("loss"))
                stop = signals.agreed(stepper.guard.device, result.step)
                if result.step % steps_per_epoch:  # within an epoch
                    if checkpoints is not None and (stop or policy.after_step(result.step)):
                        state.save(checkpoints, best=False)
                    if stop:
                        wait_for_all()
                        signals.obey()
            stepper.guard.report()

            with nullcontext() if average is None else average.in_student(epoch, stepper.learner):
                row = stepper.measure(epoch)
                result.history.append(row)
                best = select_epoch(result.history, metric, first_choice) == epoch
                if best:
                    state.keep(copy=metric is not None or average is not None)  # else the live weights will do
                result.seconds = earlier + time.perf_counter() - started
                result.seconds_per_epoch.append(result.seconds - sum(result.seconds_per_epoch))
                if on_epoch is not None:
                    on_epoch(row)
            save = stop or policy.after_epoch(result.step) or result.step == steps  # after the last step, too
            if out is not None and (save or time.monotonic() - written >= SECONDS_BETWEEN_ROWS):
                write_rows(out, result)
                written = time.monotonic()
            if checkpoints is not None and save:
                state.save(checkpoints, best=best)
            if stop:
                wait_for_all()
                signals.obey()
    result.best_epoch = select_epoch(result.history, metric, first_choice)


def select_epoch(history: Sequence[Row], metric: str | None, first: int = 0) -> int:
    """The last of the epochs with the highest `metric`, or the last of all.

    Those before `first` are chosen only as long as there are no others.

    Example:
        >>> history = [{"val_accuracy": 0.5}, {"val_accuracy": 0.7}, {"val_accuracy": 0.6}]
        >>> select_epoch(history, "val_accuracy"), select_epoch(history, None)
        (1, 2)
        >>> select_epoch(history, "val_accuracy", first=2)
        2
    """
    last = len(history) - 1
    candidates = range(first if first <= last else 0, last + 1)
    return last if metric is None else max(candidates, key=lambda epoch: (history[epoch][metric], epoch))


def write_rows(out: Path, result: TrainResult) -> None:
    """`metrics.csv` and `timing.csv`. Not flushed to the disk: checkpoints hold the same."""
    seconds = [{"epoch": epoch, "seconds": spent} for epoch, spent in enumerate(result.seconds_per_epoch)]
    write_text(out / "metrics.csv", rows_as_csv(result.history), flush=False)
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
    fractions = [row["rectified"] for row in history if "rectified" in row]  # none where its weight was 0 all along
    if fractions and not any(fractions):
        why = "its teacher made no mistake in training, or none that its rectifier corrects"
        warnings.warn(f"`{method}` had nothing to rectify: {why}", stacklevel=3)
