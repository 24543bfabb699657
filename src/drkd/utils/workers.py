"""Worker processes that begin with everything imported. Loads no torch."""

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import BaseContext


def worker_context(module: str) -> BaseContext:
    """How worker processes start: forked from a server that has imported `module`, or afresh where there is none."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def start_server(module: str) -> None:
    """Have the server of `worker_context` import `module` now, while this process imports what it needs itself."""
    if worker_context(module).get_start_method() == "forkserver":
        forkserver.ensure_running()
