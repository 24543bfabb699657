"""Jobs that wait for each other, run in this process or in several."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from typing import Any

from drkd.utils.errors import NonFiniteLossError

Progress = Callable[[str, Any], None]
"""Called with a job's name and whatever it has to say; at its end, with its result."""


def silent(name: str, said: Any) -> None:
    """The progress that nobody sees."""


@dataclass(frozen=True)
class Job:
    """A piece of work.

    Attributes:
        name: unique.
        argument: what the work is called with; it can be pickled.
        after: the job that must be done before, if any.
    """

    name: str
    argument: Any
    after: str | None = None


@dataclass(frozen=True)
class Failed:
    """What stands in place of a result: why there is none."""

    reason: str


Work = Callable[[Any, Callable[[Any], None]], Any]
"""From a job's argument and a function to report with, to its result. Defined at the top of a module."""


def run_jobs(jobs: Sequence[Job], work: Work, *, processes: int, progress: Progress) -> dict[str, Any]:
    """Do all `jobs`, `processes` at a time; give each job's result, or a `Failed`.

    A job that fails takes those with it that wait for it; the others go on. With one process everything happens in
    this one. Worker processes use one thread each, so that the number of workers changes no result.
    """
    if processes == 1:
        results: dict[str, Any] = {}
        for job in jobs:
            results[job.name] = _doomed(job, results) or attempt(work, job, partial(progress, job.name))
            progress(job.name, results[job.name])
        return results
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(kind)
    if kind == "forkserver":
        context.set_forkserver_preload([work.__module__])
    said: Any = context.Queue()
    pool = ProcessPoolExecutor(processes, context, initializer=_start_worker, initargs=(said,))
    try:
        return run_in_order(
            jobs, lambda job: pool.submit(_work_in_worker, work, job), said, at_once=processes, progress=progress
        )
    except BrokenProcessPool as reason:
        raise RuntimeError("a worker died, for lack of memory perhaps; go on with --resume") from reason
    except BaseException:
        _end(list((pool._processes or {}).values()))
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _end(workers: Sequence[Any]) -> None:
    """Have workers save what they are at and leave; a second interruption ends them at once."""
    for worker in workers:
        worker.terminate()
    try:
        for worker in workers:
            worker.join()
    except BaseException:
        for worker in workers:
            worker.kill()
        raise


def run_in_order(
    jobs: Sequence[Job], submit: Callable[[Job], Future[Any]], said: Any, *, at_once: int, progress: Progress
) -> dict[str, Any]:
    """Submit each of `jobs` when what it waits for is done, `at_once` of them at most; give results as `run_jobs` does.

    `said` is the queue that jobs report to: pairs of a job's name and what it says.
    """
    results: dict[str, Any] = {}
    waiting = list(jobs)
    running: dict[Future[Any], str] = {}
    while waiting or running:
        for job in [job for job in waiting if job.after is None or job.after in results]:
            doomed = _doomed(job, results)
            if doomed is not None:
                results[job.name] = doomed
                progress(job.name, doomed)
            elif len(running) < at_once:
                running[submit(job)] = job.name
            else:
                continue
            waiting.remove(job)
        finished, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
        _drain(said, progress)
        for future in finished:
            name = running.pop(future)
            results[name] = future.result()
            progress(name, results[name])
    return results


def _doomed(job: Job, results: dict[str, Any]) -> Failed | None:
    before = results.get(job.after) if job.after else None
    return Failed(f"{job.after} failed, which it needs") if isinstance(before, Failed) else None


def attempt(work: Work, job: Job, report: Callable[[Any], None]) -> Any:
    """What a job gives, or a `Failed` where its training diverged."""
    try:
        return work(job.argument, report)
    except NonFiniteLossError as reason:  # a training that diverged is a result too
        return Failed(str(reason))


_said: Any = None


def _start_worker(said: Any) -> None:
    """One thread; the parent alone answers Ctrl-C, and ends a worker with SIGTERM; without it there is no worker."""
    global _said  # noqa: PLW0603  # how an initializer hands something to the work of its process
    import torch

    from drkd.training import signals

    _said = said
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signals.patient = True
    threading.Thread(target=_leave_with_the_parent, daemon=True).start()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


def _leave_with_the_parent() -> None:
    """However the parent ends, a worker must not go on writing into folders that a resumed run opens again."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work_in_worker(work: Work, job: Job) -> Any:
    return attempt(work, job, lambda said: _said.put((job.name, said)))


def _drain(said: Any, progress: Progress) -> None:
    while True:
        try:
            progress(*said.get_nowait())
        except queue.Empty:  # ray's queue raises the same
            return
