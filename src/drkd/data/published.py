"""ImageNet and Tiny ImageNet as published."""

from pathlib import Path

from drkd.data.files import cannot_be_read, read_bytes
from drkd.data.folders import images_of, list_classes
from drkd.data.listing import Listing, Sample
from drkd.data.problems import OnProblem, problem_at, refuse
from drkd.utils.errors import InputError


def list_imagenet(root: Path, on_problem: OnProblem = refuse) -> Listing:
    """ImageNet-1k as a folder per class: `train/<wnid>/*` and `val/<wnid>/*`; its `val` is the test split."""
    if not ((root / "train").is_dir() and (root / "val").is_dir()):
        raise InputError(
            f"imagenet is expected at {root}/train/<wnid>/*.JPEG and {root}/val/<wnid>/*.JPEG, which is not there; it "
            "cannot be downloaded without an account: unpack the archives from its home page (val sorted by class), or "
            f"link {root} to where they are"
        )
    return list_classes({"train": root / "train", "test": root / "val"}, on_problem)


def list_tiny_imagenet(root: Path, on_problem: OnProblem = refuse) -> Listing:
    """Tiny ImageNet as published: `wnids.txt`, `train/<wnid>/images/*`, `val/images/*` with `val_annotations.txt`.

    Its labelled `val` is the test split; its `test` has no labels.
    """
    if not (root / "wnids.txt").is_file():
        raise InputError(
            f"tiny_imagenet is expected at {root} (wnids.txt, words.txt, train/, val/), which is not there; unpack the "
            "published archive tiny-imagenet-200.zip there, or give --data the folder"
        )
    wnids = sorted(" ".join(_lines(root / "wnids.txt", on_problem)).split())
    if len(wnids) < 2:
        on_problem(problem_at(root / "wnids.txt", f"needs at least 2 classes, got {len(wnids)}", "missing class"))
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    annotations = root / "val" / "val_annotations.txt"
    train: list[Sample] = []
    for location in (root / "words.txt", annotations, *(root / "train" / wnid / "images" for wnid in wnids)):
        if not location.exists():
            on_problem(problem_at(location, "is missing; unpack the complete published archive", "missing file"))
        elif location.name == "images":
            train += [(path, label_of[location.parent.name]) for path in images_of(location, on_problem)]
    test: list[Sample] = []
    for row in (line.split("\t") for line in _lines(annotations, on_problem) if line):
        if len(row) < 2 or row[1] not in label_of:
            reason = f"has a line without a class of wnids.txt: {' '.join(row)!r}"
            on_problem(problem_at(annotations, reason, "label out of range"))
        else:
            test.append((root / "val" / "images" / row[0], label_of[row[1]]))
    names = dict(line.split("\t", 1) for line in _lines(root / "words.txt", on_problem) if "\t" in line)
    for location, part in ((root / "train", train), (annotations, test)):
        if not part:
            on_problem(problem_at(location, "names no images; unpack the complete published archive", "empty split"))
    classes = tuple(f"{wnid} {names.get(wnid, wnid).split(',')[0]}" for wnid in wnids)
    return Listing(classes, {"train": train, "test": test})


def _lines(path: Path, on_problem: OnProblem) -> list[str]:
    """The lines of a text file; none of one that is missing, which is reported elsewhere."""
    try:
        return read_bytes(path).decode("utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    except OSError as reason:
        on_problem(cannot_be_read(path, reason))
    except UnicodeDecodeError as reason:
        on_problem(
            problem_at(path, f"is not UTF-8 text ({reason.reason}); unpack the published archive again", "damaged file")
        )
    return []
