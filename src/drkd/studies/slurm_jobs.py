"""Jobs of Slurm, sent with submitit: one for each training.

All machines need the same environment and the same files: run directories and data are read and written by their paths.
A job that Slurm takes away, or that comes to the end of its time, is queued again and resumes from the last checkpoint.
Jobs report through files: an event is a file in a folder, until it is read.
"""

import os
import pickle
import queue
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from drkd.runs.events import Event, OnEvent
from drkd.studies.jobs import ArgumentT, Job, Outcome, Work, attempt, run_in_order
from drkd.utils.errors import InputError

DEFAULTS = {"timeout_min": 24 * 60, "cpus_per_task": 1}
"""What a job asks for where nothing is said."""

REQUEUES = 10
"""How often a job may come to the end of its time, and be queued again."""

OF_SUBMITIT = ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "nodes", "tasks_per_node")
"""Options that submitit knows for every kind of cluster; others are Slurm's own."""


def run_jobs_on_slurm(
    jobs: Sequence[Job[ArgumentT]],
    work: Work[ArgumentT],
    asked: Mapping[str, str | int],
    folder: Path,
    *,
    at_once: int | None,
    on_event: OnEvent,
) -> dict[str, Outcome]:
    """`drkd.studies.jobs.run_jobs` as jobs of Slurm: the same results.

    Args:
        jobs, work, on_event: as there.
        asked: what a job asks for, by the names of Slurm or of submitit; `cluster=local` has submitit start processes
            of this machine instead.
        folder: for submitit's files and logs, and for events.
        at_once: how many jobs Slurm has at a time (default: all that wait for no other).

    Raises:
        InputError: where submitit is not installed, there is no Slurm, or it refuses the options.
        RuntimeError: for a job that ended without a result.
    """
    submitter = _executor(asked, folder)
    events = FolderQueue(folder / "events")
    sent: list[Any] = []

    def submit(job: Job[ArgumentT]) -> "Future[Outcome]":
        try:
            sent.append(submitter.submit(_OneJob(work, job, events, Path.cwd())))
        except Exception as reason:  # whatever submitit makes of what sbatch says
            first = " ".join(str(reason).split())[:300]
            raise InputError(f"Slurm rejects the job: {first}; see --slurm-options") from reason
        return _followed(sent[-1])

    try:
        return run_in_order(jobs, submit, events, at_once=at_once or len(jobs), on_event=on_event)
    except BaseException:
        for job in sent:
            job.cancel()
        raise
    finally:
        events.remove()


def _followed(job: Any) -> "Future[Outcome]":
    """The outcome of a job of submitit, which a thread waits for; the thread ends with the program."""
    future: Future[Outcome] = Future()

    def wait() -> None:
        try:
            result = job.result()
        except Exception as reason:
            message = f"the job {job.job_id} ended without a result ({reason}); resume with --resume"
            future.set_exception(RuntimeError(message))
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    threading.Thread(target=wait, daemon=True).start()
    return future


def _executor(asked: Mapping[str, str | int], folder: Path) -> Any:
    """What sends jobs.

    Raises:
        InputError: as `run_jobs_on_slurm`.
    """
    try:
        import submitit
    except ImportError as reason:
        raise InputError("--launcher slurm needs submitit; install drkd[slurm]") from reason
    options = {**DEFAULTS, **asked}
    cluster = options.pop("cluster", "slurm")
    if cluster == "slurm" and submitit.SlurmExecutor.affinity() < 0:
        raise InputError(
            "--launcher slurm finds no Slurm here (no srun); run it on a machine of the cluster, or choose --launcher "
            "local"
        )
    try:
        found = submitit.AutoExecutor(folder, cluster=str(cluster), slurm_max_num_timeout=REQUEUES)
        names = {name if name in OF_SUBMITIT else f"slurm_{name}": value for name, value in options.items()}
        found.update_parameters(**names)
    except (NameError, TypeError, ValueError, AssertionError) as reason:
        first = " ".join(str(reason).split())[:200]
        raise InputError(
            f"--slurm-options: {first}; give {', '.join(OF_SUBMITIT[:4])}, or names of sbatch such as partition"
        ) from reason
    return found


class _OneJob:
    """What a machine of the cluster does: one thread, as everywhere else, so that results are the same."""

    def __init__(self, work: Work[Any], job: Job[Any], events: "FolderQueue", folder: Path) -> None:
        self.work, self.job, self.events, self.folder = work, job, events, folder

    def __call__(self) -> Outcome | Exception:
        """The outcome, or the error that the parent raises."""
        import torch

        os.chdir(self.folder)
        torch.set_num_threads(1)
        try:
            return attempt(self.work, self.job, self.events.put_nowait)
        except Exception as reason:
            return reason

    def checkpoint(self) -> Any:
        """Called by submitit before the job is taken away: the same job again, which finds its checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


class FolderQueue:
    """A queue that processes of several machines share by a folder that all of them see.

    Args:
        folder: of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)

    def put_nowait(self, event: Event) -> None:
        """Add an event."""
        name = f"{time.time_ns():020d}"  # read in the order of the clocks; events of one run are of one machine
        with tempfile.NamedTemporaryFile("wb", dir=self.folder, prefix=f".{name}-", delete=False) as file:
            pickle.dump(event, file)
        beside = Path(file.name)
        beside.rename(beside.with_name(beside.name[1:]))

    def get_nowait(self) -> Event:
        """The oldest event.

        Raises:
            queue.Empty: where there is none.
        """
        waiting = sorted(self.folder.glob("[0-9]*"))
        if not waiting:
            raise queue.Empty
        event: Event = pickle.loads(waiting[0].read_bytes())
        waiting[0].unlink()
        return event

    def remove(self) -> None:
        """Delete the folder with what is left in it."""
        for left in self.folder.iterdir():
            left.unlink(missing_ok=True)
        self.folder.rmdir()
