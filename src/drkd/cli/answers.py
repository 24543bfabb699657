"""`--quiet` and `--json` of every command, in one place.

A command prints for people. What it came to it hands to `answer`: where that is, and what it is. With `--json`,
standard output has that alone, and what is for people goes to standard error. With `--quiet` there is neither progress
nor notes: only errors, and the path of what was made; a command that makes nothing prints its answer as ever. A command
that has a `--json` of its own, for answers that are not a single object, keeps it.
"""

import functools
import inspect
import io
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from drkd.utils.progress import listening

OPTIONS = {
    "quiet": Annotated[bool, typer.Option("--quiet", help="print only errors and the path of the result")],
    "as_json": Annotated[bool, typer.Option("--json", help="print JSON")],
}


@dataclass
class Answer:
    """What the running command came to.

    Attributes:
        path: of what it made.
        content: for `--json`.
    """

    path: Path | None = None
    content: dict[str, object] | None = None


_running = Answer()


def answer(path: str | Path | None, content: object) -> None:
    """Say what the running command came to: the path of what it made, and a dataclass or a dictionary."""
    _running.path = None if path is None else Path(path)
    fields = asdict(content) if is_dataclass(content) and not isinstance(content, type) else content
    _running.content = {**({} if path is None else {"path": str(path)}), **dict(fields)}  # type: ignore[call-overload]


def answering(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command with the options `--quiet` and `--json`, if it has none of its own."""
    known = inspect.signature(command).parameters

    @functools.wraps(command)
    def run(*, quiet: bool = False, as_json: bool = False, **values: Any) -> Any:
        own_json = "as_json" in known
        if own_json:
            values["as_json"] = as_json
        with _silenced(quiet), _printed(quiet=quiet, as_json=as_json, own_json=own_json):
            return command(**values)

    extra = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in OPTIONS.items()
        if name not in known
    ]
    run.__signature__ = inspect.Signature([*known.values(), *extra])  # type: ignore[attr-defined]
    annotations = {name: parameter.annotation for name, parameter in known.items()}
    run.__annotations__ = annotations | {each.name: each.annotation for each in extra}
    return run


@contextmanager
def _silenced(quiet: bool) -> Iterator[None]:
    """Neither notes nor progress, if `quiet`."""
    if not quiet:
        yield
        return
    usual, warnings.showwarning = warnings.showwarning, lambda *_, **__: None
    try:
        with listening(None):
            yield
    finally:
        warnings.showwarning = usual


@contextmanager
def _printed(*, quiet: bool, as_json: bool, own_json: bool) -> Iterator[None]:
    """Standard output while a command runs, and what it came to afterwards."""
    global _running  # noqa: PLW0603  # a process runs one command
    _running = Answer()
    if (as_json and own_json) or not (quiet or as_json):
        yield
        return
    usual, held = sys.stdout, io.StringIO()
    sys.stdout = sys.stderr if as_json and not quiet else held
    try:
        yield
    finally:
        sys.stdout = usual
    if as_json and _running.content is not None:
        print(json.dumps(_running.content, default=str))
    elif quiet and not as_json:
        print(held.getvalue() if _running.path is None else _running.path, end="" if _running.path is None else "\n")
