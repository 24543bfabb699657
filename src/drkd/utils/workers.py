"""Worker processes that begin with everything imported, and without the program that starts them. Loads no torch."""

import multiprocessing
import sys
from multiprocessing.context import BaseContext
from types import ModuleType
from typing import Any

ALSO = ("sklearn.datasets", "sklearn.model_selection", "torch._dynamo")
"""What a training imports only when it begins: the server has it, so that not every worker imports it again."""

_START_METHOD = "forkserver" if sys.platform == "linux" else "spawn"
"""On macOS a fork after its system libraries are loaded may crash; Windows has none."""

_context: Any = multiprocessing.get_context(_START_METHOD)


class _Process(_context.Process):  # type: ignore[misc]  # its type depends on the system
    """A process that does not run the program's main module again: a script without `__name__ == "__main__"` will do.

    All that a worker is given is defined in modules.
    """

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802  # multiprocessing's name
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # without a file there is nothing to run
        try:
            return _context.Process._Popen(process_obj)
        finally:
            sys.modules["__main__"] = main


class _Context(type(_context)):  # type: ignore[misc]
    Process = _Process


def worker_context(module: str) -> BaseContext:
    """How worker processes start: forked from a server that has imported `module`, or afresh where there is none."""
    context: BaseContext = _Context()
    if _START_METHOD == "forkserver":
        context.set_forkserver_preload([module, *ALSO])
    return context


def start_server(module: str) -> None:
    """Have the server of `worker_context` import `module` now, while this process imports what it needs itself."""
    if worker_context(module).get_start_method() == "forkserver":
        from multiprocessing import forkserver

        forkserver.ensure_running()
