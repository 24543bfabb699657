"""A kind of faults.py: data that changed between a training and what is done with it."""

import hashlib
import random
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

QUICK = {
    "model": "mlp",
    "method": "cross_entropy",
    "epochs": 2,
    "batch_size": 16,
    "augment": "none",
    "checkpoint_every": "2",
}

Outcomes = dict[str, dict[str, int]]


class StoppedError(Exception):
    """A training ends after its first epoch."""


def write_photos(root: Path, draw: random.Random, count: int = 30) -> Path:
    """A folder of noise, `count` images for each of two classes."""
    noise = np.random.default_rng(draw.randrange(2**32))
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.bmp")
    return root


def trained(photos: Path, out: Path, *, stopped: bool = False, **options: Any) -> None:
    """A run directory; `stopped` after its first epoch."""
    from drkd.config import TrainConfig, resolve
    from drkd.runs.events import ignore_event
    from drkd.runs.training import train

    def stop(_: Any) -> None:
        raise StoppedError

    config, source = resolve(TrainConfig, {**QUICK, "data": str(photos), **options})
    try:
        train(config, source, out, on_event=stop if stopped else ignore_event)
    except StoppedError:
        return


def outcome(act: Callable[[], Any], before: Any, noted: frozenset[str] = frozenset()) -> tuple[str, Any]:
    """What becomes of `act`, whose answer was `before` when nothing was wrong, with the warnings `noted`."""
    from drkd import InputError

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer = act()
        except InputError as reason:
            return "refused", str(reason)
        except Exception as reason:
            return "crashed", f"{type(reason).__name__}: {reason}"
    said = {str(warning.message) for warning in caught} - noted
    if said:
        return "said", "; ".join(sorted(said))
    return ("unaffected" if answer == before else "silent"), answer


def changed_data(folder: Path, draw: random.Random, *, short: bool) -> Outcomes:
    """Counts by use over all changes: outcomes, and how often images that were trained on were measured on.

    Each change is made to two images of each split; if `short`, four of them to one training image.
    """
    from drkd.config import CompareConfig, TrainConfig, resolve
    from drkd.export.exporting import export_run
    from drkd.export.predicting import predict_files
    from drkd.runs.data_record import read_record
    from drkd.runs.evaluating import evaluate_run
    from drkd.runs.events import ignore_event
    from drkd.studies import comparison

    photos = write_photos(folder / "photos", draw)
    original = shutil.copytree(photos, folder / "original")
    run, halfway, compared = folder / "run", folder / "halfway", folder / "compared"
    trained(photos, run)
    trained(photos, halfway, stopped=True)
    plan = {**QUICK, "data": str(photos), "methods": ["label_smoothing"], "seeds": 2, "jobs": 1, "epochs": 1}
    del plan["method"]
    config, source = resolve(CompareConfig, plan)
    comparison.run(config, source, compared, on_event=ignore_event)
    (compared / "results.json").unlink()
    shutil.rmtree(compared / "trainings" / "clean-labels" / "seed-1" / "label_smoothing")
    record = read_record(run)
    assert record is not None
    known = {_digest(photos / name) for name in record.images("train")}
    unfinished = (halfway, compared)
    resumable = {path: shutil.copytree(path, folder / f"{path.name}-kept", symlinks=True) for path in unfinished}
    measured: list[bool] = []

    def measures(split: str) -> Any:
        found = evaluate_run(run, data=None, split=split)
        _note(split)
        return found.metrics

    def _note(split: str) -> None:
        from drkd import load_data

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names = getattr(load_data(photos), split).names
        measured.append(any(_digest(photos / name) in known for name in names))

    def exports() -> Any:
        file = export_run(run, "torch", out=folder / "model.pt2")
        _note("val")
        return file.parity.accuracy_before

    def predicts() -> Any:
        """By content: a file that is renamed has the same answer."""
        answers = predict_files(run, [photos])
        return {_digest(Path(each.file)): (each.label, round(each.probability, 5)) for each in answers}

    def resumes(out: Path, act: Callable[[], Any]) -> Callable[[], Any]:
        def again() -> Any:
            shutil.rmtree(out)
            shutil.copytree(resumable[out], out, symlinks=True)
            act()

        return again

    uses: dict[str, Callable[[], Any]] = {
        "train --resume": resumes(halfway, lambda: trained(photos, halfway, resume=True)),
        "train --resume, finished": lambda: trained(photos, run, resume=True),
        "compare --resume": resumes(compared, lambda: comparison.run(config, source, compared, on_event=ignore_event)),
        "evaluate, test": lambda: measures("test"),
        "evaluate, val": lambda: measures("val"),
        "export": exports,
        "predict": predicts,
    }
    resolve(TrainConfig, {})
    before = {use: act() for use, act in uses.items()}
    assert not any(measured)
    rows: dict[str, Counter[str]] = {use: Counter() for use in uses}
    for change, apply in CHANGES.items():
        if short and change not in ("copied", "renamed", "relabelled", "replaced"):
            continue
        for number in range(1 if short else 6):
            split = ("train", "val", "test")[number % 3]
            apply(photos, draw.choice(sorted(record.images(split))), draw)
            for use, act in uses.items():
                if use == "export" and (number >= 3 or (short and change != "renamed")):
                    continue  # it takes its time
                measured.clear()
                result, said = outcome(act, before[use])
                if (
                    use == "predict"
                    and isinstance(said, dict)
                    and all(before[use].get(image, answer) == answer for image, answer in said.items())
                ):
                    result = "unaffected"  # every image that was there has its old answer
                rows[use][result] += 1
                rows[use]["on trained images"] += any(measured)
                if result in ("silent", "crashed"):
                    print(f"{change}, {split}, {use}: {result}: {said}")
            shutil.rmtree(photos)
            shutil.copytree(original, photos)
    return {f"data, {use}": dict(row) for use, row in rows.items()}


def _add(photos: Path, name: str, draw: random.Random) -> None:
    (photos / name).with_name("new.bmp").write_bytes(_noise(draw))


def _copy(photos: Path, name: str, draw: random.Random) -> None:
    shutil.copyfile(photos / name, (photos / name).with_name(f"copy-{draw.randrange(1000)}.bmp"))


def _remove(photos: Path, name: str, _: random.Random) -> None:
    (photos / name).unlink()


def _rename(photos: Path, name: str, draw: random.Random) -> None:
    (photos / name).rename((photos / name).with_name(f"renamed-{draw.randrange(1000)}.bmp"))


def _move(photos: Path, name: str, _: random.Random) -> None:
    other = "dog" if name.startswith("cat") else "cat"
    (photos / name).rename(photos / other / f"moved-{Path(name).name}")


def _replace(photos: Path, name: str, draw: random.Random) -> None:
    """By another image of the same size."""
    (photos / name).write_bytes(_noise(draw))


def _flip(photos: Path, name: str, draw: random.Random) -> None:
    content = bytearray((photos / name).read_bytes())
    content[-1 - draw.randrange(100)] ^= 1 << draw.randrange(8)
    (photos / name).write_bytes(content)


def _grow(photos: Path, name: str, _: random.Random) -> None:
    (photos / name).write_bytes((photos / name).read_bytes() + b"\0")


CHANGES: dict[str, Callable[[Path, str, random.Random], None]] = {
    "added": _add,
    "copied": _copy,
    "removed": _remove,
    "renamed": _rename,
    "relabelled": _move,
    "replaced": _replace,
    "a bit flipped": _flip,
    "of another size": _grow,
}


def _noise(draw: random.Random) -> bytes:
    import io

    file = io.BytesIO()
    Image.fromarray(np.frombuffer(draw.randbytes(192), np.uint8).reshape(8, 8, 3)).save(file, "BMP")
    return file.getvalue()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
