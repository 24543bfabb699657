"""Whatever drkd is given, it takes it, or refuses it in one line: random command lines, annotations and Python calls.

    python benchmarks/fuzz.py                     # 1,000 command lines, 200 annotations, 200 calls; some ten minutes
    python benchmarks/fuzz.py --short             # a few of each kind
    python benchmarks/fuzz.py --seed 3 --kinds calls --json fuzz.json
    python benchmarks/fuzz.py --kinds lines --only 17    # one case again, with all that it prints

Each case depends on the seed and its number alone: it starts from a fresh copy of a folder with runs, a comparison, a
search, exports and data, a file of each damaged. There is no network: who reaches for it without `--download` is a
fault, too.

    lines          all commands with options sound, at their limits, of another kind, twice, unknown, from spoiled files
    annotations    COCO and VOC files with a value changed, gone, cut
    calls          the public functions and classes, with arguments of other kinds, shapes and types

A case is accepted; refused (exit code 2, an `InputError`, Python's own TypeError for an unknown argument); or failed,
where work was begun and could not be finished (exit code 1: diverged, no memory, nothing can be written). All else is
unexpected: other exceptions, tracebacks, exit codes, warnings of libraries, silence, a hang, files that a refusal
leaves behind. Then the script exits 1.
"""

import argparse
import contextlib
import io
import json
import random
import re
import resource
import shutil
import signal
import socket
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import command_lines
import fuzzed_folder
import python_calls

from drkd import InputError, NonFiniteLossError, ParityError, StorageError, cli
from malformed import Malformed

SECONDS = 300
"""How long a case may take: far more than any does, also on a machine that others use."""

MEMORY = 12 * 2**30
"""Bytes of address space that a process may have: what asks for more gets an error, and the machine keeps running."""

KINDS = {"lines": 1000, "annotations": 200, "calls": 200}
SHORT = {"lines": 60, "annotations": 20, "calls": 40}
FAILURES = (NonFiniteLossError, ParityError, StorageError)
OUTCOMES = ("accepted", "refused", "failed", "unexpected")


class TooLongError(BaseException):
    """A case that does not end; no `except Exception` catches it."""


@dataclass
class Outcome:
    """What became of a case: one of `OUTCOMES`, the case, and what it said."""

    what: str
    case: str
    said: str = ""


class Watch:
    """What a case does besides its result: warnings that point at a fault, calls of the network."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def warn(self, message: Warning | str, category: type[Warning], filename: str, *rest: Any, **named: Any) -> None:
        """A warning is for the user where drkd gives it, as a UserWarning; any other is a fault of ours."""
        if category is not UserWarning or "site-packages" in filename:
            self.faults.append(f"{category.__name__} from {Path(filename).name}: {message}")

    def connect(self, address: Any) -> None:
        self.faults.append(f"network: {address}")
        raise OSError(101, "Network is unreachable")


@contextlib.contextmanager
def watched(seconds: int = SECONDS) -> Iterator[Watch]:
    """A limit of time, and an eye on warnings and on the network."""
    watch, connect = Watch(), socket.socket.connect

    def local_only(own: socket.socket, address: Any) -> None:
        connect(own, address) if own.family == socket.AF_UNIX else watch.connect(address)

    def stop(*_: Any) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        with (
            mock.patch("socket.socket.connect", local_only),
            mock.patch("socket.getaddrinfo", lambda host, *_, **__: watch.connect(host)),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("always", UserWarning)
            warnings.simplefilter("always", RuntimeWarning)
            warnings.showwarning = watch.warn
            yield watch
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run_line(words: Sequence[str], *, encoding: str = "utf-8") -> Outcome:
    """What a command line does in this process, by its exit code and what it prints."""
    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    raised: list[BaseException | None] = []
    fail, noted_once, handler = cli._fail, cli._noted_once, signal.getsignal(signal.SIGTERM)

    def failing(message: str, code: int, debug: bool) -> int:
        raised.append(sys.exc_info()[1])
        return fail(message, code, debug)

    with watched() as watch:

        def noting() -> Callable[..., None]:
            note = noted_once()

            def noted(message: Warning | str, *rest: Any, **named: Any) -> None:
                watch.warn(message, *rest, **named)
                note(message)

            return noted

        code: Any = None
        try:
            with (
                mock.patch.multiple(cli, _fail=failing, _noted_once=noting),
                mock.patch.multiple(sys, argv=["drkd", *words], stdout=output, stderr=errors),
            ):
                cli.main()
        except SystemExit as ended:
            code = ended.code
        except TooLongError:
            watch.faults.append(f"not done after {SECONDS} s")
        except BaseException:
            watch.faults.append(traceback.format_exc())
        finally:
            signal.signal(signal.SIGTERM, handler)
    for stream in (output, errors):
        stream.flush()
    texts = [stream.buffer.getvalue().decode(encoding, "replace") for stream in (output, errors)]  # type: ignore[attr-defined]
    if "--download" in words:
        watch.faults = [fault for fault in watch.faults if not fault.startswith("network")]
    return judged(words, code, texts, raised, watch.faults)


def judged(
    words: Sequence[str], code: Any, texts: Sequence[str], raised: Sequence[BaseException | None], faults: list[str]
) -> Outcome:
    """The outcome of a command line by what it did."""
    lines = texts[1].splitlines()
    if "--debug" not in words and "Traceback (most recent call last)" in "".join(texts):
        faults.append("a traceback")
    if code not in (0, 1, 2):
        faults.append(f"exit code {code}")
    if code in (1, 2) and not any(line.startswith("drkd: ") for line in lines):
        faults.append("no reason given")
    if code == 1:
        raw = [each for each in raised if not isinstance(each, FAILURES) and not is_of_memory(each)]
        faults += [f"exit code 1 for {type(each).__name__}" for each in raw]
        faults += [f"raw: {line}" for line in lines if re.search(r"\b(?!NonFinite)[A-Z]\w*(Error|Exception): ", line)]
    what = "unexpected" if faults else {0: "accepted", 1: "failed", 2: "refused"}[code]
    return Outcome(what, repr(words), "\n".join([*faults, f"exit code {code}", *texts]))


def fuzz_lines(root: Path, seed: int, numbers: Sequence[int]) -> Iterator[Outcome]:
    """Command lines, each in a fresh copy of a folder with everything in it."""
    known = command_lines.commands()
    made, work = root / "made", root / "work"
    made.mkdir(parents=True)
    with contextlib.chdir(made):
        fuzzed_folder.set_up(made, run_line)
    for number in numbers:
        rng = random.Random(f"{seed} {number}")
        line = command_lines.random_line(rng, known)
        fuzzed_folder.place(made, work, line, rng)
        before = sorted(work.rglob("*"))
        with contextlib.chdir(work):
            outcome = run_line(line.words, encoding=rng.choice(("utf-8", "utf-8", "ascii", "latin-1")))
        if line.options is not None:
            outcome.case += f" with {line.options!r}"
        left = sorted({*work.rglob("*")} ^ {*before})
        if outcome.what == "refused" and left:
            outcome.what = "unexpected"
            outcome.said = f"refused, and yet changed: {[str(path.relative_to(work)) for path in left]}\n{outcome.said}"
        shutil.rmtree(work)
        yield outcome


def fuzz_annotations(root: Path, seed: int, numbers: Sequence[int]) -> Iterator[Outcome]:
    """COCO and VOC files with one thing wrong, three to two."""
    files = {kind: Malformed(root / kind, kind) for kind in ("coco", "voc")}
    for number in numbers:
        kind = "coco" if number % 5 < 3 else "voc"
        yield called(f"{kind} {number}", partial(files[kind].accepted, random.Random(f"{seed} {number}")))


def fuzz_calls(root: Path, seed: int, numbers: Sequence[int]) -> Iterator[Outcome]:
    """Python calls with odd arguments, each in a folder of its own with a run in it."""
    made, work = root / "made", root / "work"
    python_calls.set_up(made)
    known = python_calls.functions()
    for number in numbers:
        shutil.copytree(made, work, symlinks=True)
        with contextlib.chdir(work):
            call = python_calls.random_call(random.Random(f"{seed} {number}"), known)
            yield called(call.described(), call.make)
        shutil.rmtree(work)


def called(case: str, function: Callable[[], Any]) -> Outcome:
    """What a call in Python does."""
    output = io.StringIO()
    with watched() as watch, contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            what = "accepted" if function() is not False else "refused"
            said = ""
        except InputError as reason:
            what, said = "refused", str(reason)
        except FAILURES as reason:
            what, said = "failed", str(reason)
        except TypeError as reason:  # Python's own, for an unknown or a missing argument
            known = re.search(r"unexpected keyword argument|missing \d+ required|positional argument", str(reason))
            what, said = "refused" if known else "unexpected", traceback.format_exc()
        except TooLongError:
            what, said = "unexpected", f"not done after {SECONDS} s"
        except Exception as reason:
            what, said = "failed" if is_of_memory(reason) else "unexpected", traceback.format_exc()
    if watch.faults:
        what, said = "unexpected", "\n".join([*watch.faults, said])
    return Outcome(what, case, said)


def is_of_memory(reason: BaseException | None) -> bool:
    """Whether somebody asked for more than the machine has, which no limit of ours can know."""
    return isinstance(reason, MemoryError) or re.search(cli.OUT_OF_MEMORY, str(reason)) is not None


FUZZERS = {"lines": fuzz_lines, "annotations": fuzz_annotations, "calls": fuzz_calls}


def campaign(
    counts: dict[str, range], *, seed: int, on_outcome: Callable[[int, Outcome], None] = lambda *_: None
) -> dict[str, Counter[str]]:
    """How often each outcome came, by kind; `on_outcome` gets the number and the outcome of every case."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, numbers in counts.items():
            results[kind] = Counter(dict.fromkeys(OUTCOMES, 0))
            for number, outcome in zip(numbers, FUZZERS[kind](Path(folder, kind), seed, numbers), strict=True):
                results[kind][outcome.what] += 1
                on_outcome(number, outcome)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few of each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the one case with this number")
    parser.add_argument("--json", type=Path, help="write the counts, and every unexpected case, here too")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    counts = {kind: range((SHORT if arguments.short else KINDS)[kind]) for kind in arguments.kinds}
    if arguments.only is not None:
        counts = {kind: range(arguments.only, arguments.only + 1) for kind in arguments.kinds}
    unexpected: list[dict[str, Any]] = []

    def on_outcome(number: int, outcome: Outcome) -> None:
        if outcome.what == "unexpected":
            unexpected.append({"number": number, **asdict(outcome)})
        if outcome.what == "unexpected" or arguments.only is not None:
            print(f"{outcome.what}, number {number}: {outcome.case}\n{outcome.said}\n", flush=True)
        elif number % 100 == 99:
            print(f"{number + 1} cases done", flush=True)

    results = campaign(counts, seed=arguments.seed, on_outcome=on_outcome)
    print(f"{'':12}" + "".join(f"{name:>12}" for name in OUTCOMES))
    for kind, row in results.items():
        print(f"{kind:12}" + "".join(f"{row[name]:12}" for name in OUTCOMES))
    if arguments.json:
        arguments.json.write_text(json.dumps({"counts": results, "unexpected": unexpected}, indent=2) + "\n")
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
