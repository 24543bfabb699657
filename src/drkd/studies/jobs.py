"""Runs that wait for each other, one after another in this process or several at once in others."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from drkd.runs.events import Event, OnEvent, RunDone, RunFailed
from drkd.runs.summary import RunSummary
from drkd.utils.errors import NonFiniteLossError
from drkd.utils.workers import worker_context

ArgumentT = TypeVar("ArgumentT")

Outcome = RunSummary | RunFailed
"""What a job comes to."""

Work = Callable[[ArgumentT, OnEvent], Outcome]
"""From a job's argument and a function that takes events to its result. Defined at the top of a module."""


@dataclass(frozen=True)
class Job(Generic[ArgumentT]):
    """A run to be made.

    Attributes:
        name: unique; events call the run by it.
        argument: what the work is called with; it can be pickled.
        after: the job that must be done before, if any.
    """

    name: str
    argument: ArgumentT
    after: str | None = None


class EventQueue(Protocol):
    """A queue that jobs of other processes report to."""

    def get_nowait(self) -> Event: ...


def run_jobs(
    jobs: Sequence[Job[ArgumentT]], work: Work[ArgumentT], *, processes: int, on_event: OnEvent
) -> dict[str, Outcome]:
    """Do all `jobs`, `processes` at a time; give each job's result by name.

    Those that wait for a failed job fail with it; the others are done. With one process everything happens in this one.
    Worker processes use one thread each, so that the number of workers changes no result.
    """
    if processes == 1:
        outcomes: dict[str, Outcome] = {}
        for job in jobs:
            outcomes[job.name] = _failed_before(job, outcomes) or attempt(work, job, on_event)
            on_event(_last_event(job.name, outcomes[job.name]))
        return outcomes
    context = worker_context(work.__module__)
    events: Any = context.Queue()  # multiprocessing's queues have no type that both sides share
    pool = ProcessPoolExecutor(processes, context, initializer=_start_worker, initargs=(events,))
    try:
        outcomes = run_in_order(
            jobs, lambda job: pool.submit(_work_in_worker, work, job), events, at_once=processes, on_event=on_event
        )
    except BrokenProcessPool as reason:
        raise RuntimeError("a worker died, perhaps out of memory; resume with --resume") from reason
    except BaseException as reason:
        if isinstance(reason, KeyboardInterrupt | SystemExit):
            from drkd.training.signals import say_once_more

            number = signal.SIGINT if isinstance(reason, KeyboardInterrupt) else signal.SIGTERM
            say_once_more(number, "the current steps")
        _end(list((pool._processes or {}).values()))
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    _drain(events, on_event)  # a thread of each worker sends its events, the last ones when it ends
    return outcomes


def _end(workers: Sequence[Any]) -> None:
    """Have workers save their state and leave; a second interruption ends them at once."""
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
    jobs: Sequence[Job[ArgumentT]],
    submit: Callable[[Job[ArgumentT]], "Future[Outcome]"],
    events: EventQueue,
    *,
    at_once: int,
    on_event: OnEvent,
) -> dict[str, Outcome]:
    """Submit each of `jobs` when the one it waits for is done, `at_once` of them at most; otherwise as `run_jobs`.

    Args:
        jobs: in the order in which they are submitted.
        submit: starts one.
        events: the queue that they report to.
        at_once: how many may run.
        on_event: called with each event.
    """
    outcomes: dict[str, Outcome] = {}
    waiting = list(jobs)
    running: dict[Future[Outcome], str] = {}
    while waiting or running:
        for job in [job for job in waiting if job.after is None or job.after in outcomes]:
            failed = _failed_before(job, outcomes)
            if failed is not None:
                outcomes[job.name] = failed
                on_event(failed)
            elif len(running) < at_once:
                running[submit(job)] = job.name
            else:
                continue
            waiting.remove(job)
        finished, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
        _drain(events, on_event)
        for future in finished:
            name = running.pop(future)
            outcomes[name] = future.result()
            on_event(_last_event(name, outcomes[name]))
    return outcomes


def attempt(work: Work[ArgumentT], job: Job[ArgumentT], on_event: OnEvent) -> Outcome:
    """The result of a job; that a training diverged is one too."""
    try:
        return work(job.argument, on_event)
    except NonFiniteLossError as reason:
        return RunFailed(job.name, str(reason))


def _failed_before(job: Job[ArgumentT], outcomes: dict[str, Outcome]) -> RunFailed | None:
    before = outcomes.get(job.after) if job.after else None
    return RunFailed(job.name, f"it depends on {job.after}, which failed") if isinstance(before, RunFailed) else None


def _last_event(name: str, outcome: Outcome) -> Event:
    return outcome if isinstance(outcome, RunFailed) else RunDone(name, outcome)


_events: Any = None


def _start_worker(events: Any) -> None:
    """One thread. The parent alone answers Ctrl-C, and ends a worker with SIGTERM; without it there is no worker."""
    global _events  # noqa: PLW0603  # how an initializer hands something to the work of its process
    import torch

    from drkd.training import signals

    _events = events
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


def _work_in_worker(work: Work[ArgumentT], job: Job[ArgumentT]) -> Outcome:
    return attempt(work, job, _events.put)


def _drain(events: EventQueue, on_event: OnEvent) -> None:
    while True:
        try:
            on_event(events.get_nowait())
        except queue.Empty:  # ray's queue raises the same
            return
