"""The command line: `drkd COMMAND --option value`.

Exit codes: 0 done, 1 a run failed, 2 wrong usage or bad data, 130 after Ctrl-C, 143 after SIGTERM. A mistake gets one
line on standard error; `--debug` adds the traceback.
"""

import errno
import io
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from types import FrameType
from typing import Any

from drkd.cli.first_word import first_word
from drkd.cli.output import guarded_streams
from drkd.cli.progress import ProgressLine
from drkd.utils.errors import InputError, NonFiniteLossError, ParityError, StorageError
from drkd.utils.folders import remove_empty_folders
from drkd.utils.progress import listening
from drkd.utils.text import printable

COMMANDS = (
    "drkd.cli.training",
    "drkd.cli.inspecting",
    "drkd.cli.predicting",
    "drkd.cli.suspects",
    "drkd.cli.exporting",
)
"""The modules that add their commands to the app, in the order of `--help`."""

INTERRUPTED = 130

LONGEST_NAME = 200
"""Characters of a path that a message shows."""

CLOSED_PIPE = (errno.EPIPE, errno.EINVAL) if sys.platform == "win32" else (errno.EPIPE,)
"""What a write fails with after the reader of a pipe has left."""

OUT_OF_MEMORY = "allocate memory|out of memory|Storage size calculation overflowed|Invalid shape dimension"
"""What torch says in place of a MemoryError."""

HOW_TO_RESUME = (
    "interrupted; finished work is saved: run the command again to continue (train, compare, tune: with its --out)"
)


def main() -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name beyond the terminal's encoding is shown with escapes
            stream.reconfigure(errors="backslashreplace")
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"] or ["--help"]
    debug, line = "--debug" in sys.argv[1:], ProgressLine("stderr", "drkd: ")
    with guarded_streams() as output, first_word(arguments, output, sys.stderr), listening(line.show):
        try:
            code = _run(arguments, debug=debug)
        except KeyboardInterrupt:  # before there is a command
            code = _fail(HOW_TO_RESUME, INTERRUPTED, debug)
        line.clear()
        output.flush()
        lost = output.failure
        if code == 0 and lost is not None and lost.errno not in CLOSED_PIPE:  # who closes it has read enough
            code = _fail(f"the output is incomplete: {lost.strerror}; all results are saved", 1, False)
    sys.exit(code)


def _run(arguments: list[str], *, debug: bool) -> int:
    import typer

    from drkd.cli.app import app

    for module in COMMANDS:
        import_module(module)

    signal.signal(signal.SIGTERM, _terminate)
    warnings.showwarning = _noted_once()
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit", category=RuntimeWarning)  # it is refused
    usage_error: Any = typer.BadParameter.__mro__[2]  # click.ClickException, wherever typer keeps its click
    try:
        result = app(arguments, prog_name="drkd", standalone_mode=False)
        if result == INTERRUPTED:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
    except usage_error as reason:
        return _fail(_about_usage(reason.format_message(), arguments), 2, debug)
    except InputError as reason:
        return _fail(str(reason), 2, debug)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(HOW_TO_RESUME, INTERRUPTED, debug)
    except OSError as reason:
        return _fail(*_about_files(reason), debug)
    except Exception as reason:  # whatever went wrong, the user gets one line
        return _fail(_about_failure(reason), 1, debug)
    finally:
        remove_empty_folders()
    return result if isinstance(result, int) else 0


def _about_usage(message: str, arguments: list[str]) -> str:
    """What to say of a command that typer cannot read; it names neither the value nor the likely cause."""
    if "unexpected extra argument" in message:
        return f"{message}; write lists with commas and no spaces, and quote paths with spaces"
    if not (number := re.match(r"Invalid value for '?(--[\w-]+)'?: .* valid (integer|number)", message)):
        return message
    flag, kind = number.groups()
    words = [word for argument in arguments for word in argument.split("=", 1)]
    got = dict(pairwise(words)).get(flag, "nothing")  # the last one counts
    return f"{flag} should be {'an integer' if kind == 'integer' else 'a number'}, got {got!r}"


def _about_failure(reason: Exception) -> str:
    """What to say of an error that is nobody's input."""
    if isinstance(reason, MemoryError) or re.search(OUT_OF_MEMORY, str(reason)):
        return f"not enough memory: {reason}; lower --batch-size, --image-size or the number of samples"
    ours = isinstance(reason, NonFiniteLossError | ParityError)
    return str(reason) if ours else f"{type(reason).__name__}: {reason}"


def _about_files(reason: OSError) -> tuple[str, int]:
    """What to say of an error of the file system, and the exit code: a name that cannot be is wrong usage."""
    cause = reason.__cause__ if isinstance(reason, StorageError) else None
    if isinstance(cause, OSError) and cause.errno == errno.ENAMETOOLONG:
        reason = cause
    elif isinstance(reason, StorageError) or reason.filename is None or reason.strerror is None:
        return str(reason), 1
    name = str(reason.filename)
    shown = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 2]}...{name[-LONGEST_NAME // 2 :]}"
    if reason.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return f"{shown}: {reason.strerror}; give another name", 2
    return f"cannot use {shown}: {reason.strerror}; check that it exists and its permissions", 1


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"drkd: {printable(' '.join(message.split()))}", file=sys.stderr)
    return code


def _noted_once() -> Callable[..., None]:
    """What shows a warning as one line; the same from several places of a command only once."""
    shown = set()

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        line = f"drkd: note: {printable(' '.join(str(message).split()))}"
        if line not in shown:
            shown.add(line)
            print(line, file=sys.stderr)

    return note


def _terminate(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise SystemExit(143)
