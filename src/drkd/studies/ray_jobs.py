"""Jobs on the workers of a Ray cluster: the one that RAY_ADDRESS names, or one of this machine alone.

All machines need the same environment and the same files: run directories and data are read and written by their paths.
A job whose worker is lost is done again by another one, which resumes from the last checkpoint.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drkd.runs.events import OnEvent
from drkd.studies.jobs import ArgumentT, Job, Outcome, Work, attempt, run_in_order
from drkd.utils.errors import InputError

RETRIES = 3
"""How often a job is begun again whose worker was lost."""


def run_jobs_on_ray(
    jobs: Sequence[Job[ArgumentT]], work: Work[ArgumentT], *, on_gpus: bool, at_once: int | None, on_event: OnEvent
) -> dict[str, Outcome]:
    """`drkd.studies.jobs.run_jobs` on a cluster: the same results, a processor or a GPU for each job.

    Raises:
        InputError: where Ray is not installed.
        RuntimeError: for a job whose workers were lost again and again.
    """
    try:
        import ray
        from ray.util.queue import Queue
    except ImportError as reason:
        raise InputError("--launcher ray needs Ray; install drkd[ray]") from reason
    ours = not ray.is_initialized()
    if ours:
        cluster = {"address": "auto"} if "RAY_ADDRESS" in os.environ else {"include_dashboard": False}
        ray.init(**cluster, log_to_driver=False, logging_level=logging.ERROR)
    events = Queue()
    task: Any = ray.remote(num_cpus=1, num_gpus=int(on_gpus), max_retries=RETRIES)(_work_on_ray)
    try:
        return run_in_order(
            jobs,
            lambda job: task.remote(work, job, events, Path.cwd()).future(),
            events,
            at_once=at_once or len(jobs),
            on_event=on_event,
        )
    except ray.exceptions.RayTaskError as reason:  # the job's own error
        raise reason.cause from reason
    except ray.exceptions.RayError as reason:
        raise RuntimeError(f"a job lost its worker {RETRIES + 1} times; resume with --resume") from reason
    finally:
        if ours:
            ray.shutdown()


def _work_on_ray(work: Work[ArgumentT], job: Job[ArgumentT], events: Any, folder: Path) -> Outcome:
    """What a worker does: one thread, as everywhere else, so that the number of workers changes no result."""
    import torch

    os.chdir(folder)
    torch.set_num_threads(1)
    return attempt(work, job, events.put_nowait)
