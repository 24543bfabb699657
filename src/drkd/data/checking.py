"""Everything that is wrong with a data set, at once.

The readers' own listing says what stops a training; here every image is decoded as well and compared with the others.
What only makes figures doubtful is a warning, and how unusual images are read a note.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from drkd.data import layouts, readers
from drkd.data.datasets import VALIDATION, divide
from drkd.data.decoding import Source, converted, decoded, describe_source, opened
from drkd.data.images import damage_of, in_threads
from drkd.data.listing import Listing, Sample, Samples, judge_classes, keys_of
from drkd.data.problems import BadImageError, OnProblem, Problem, Severity
from drkd.utils.errors import InputError

Progress = Callable[[int, int], None]
"""Called with how many images were looked at, and how many there are."""

GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
ORIENTATION = 0x0112

ORDER: tuple[Severity, ...] = ("error", "warning", "note")
"""Of findings."""


@dataclass(frozen=True)
class Findings:
    """What a check found.

    Attributes:
        data: what was looked at.
        images: how many there are, by split as the files have them.
        classes: their names.
        problems: all findings, errors first.
    """

    data: str
    images: Mapping[str, int]
    classes: tuple[str, ...]
    problems: tuple[Problem, ...]

    def count(self, severity: Severity) -> dict[str, int]:
        """How many findings of this severity there are, by kind."""
        return dict(Counter(problem.kind for problem in self.problems if problem.severity == severity))


@dataclass(frozen=True)
class _Seen:
    """An image after a look at it; `digest` is None for one that cannot be read."""

    split: str
    location: str
    label: int
    problems: tuple[Problem, ...] = ()
    digest: bytes | None = None
    size: tuple[int, int] = (0, 0)
    grey: bool = False
    source: Source = b""


def check_data(name: str | Path, *, progress: Progress | None = None) -> Findings:
    """Look a data set over; nothing is written, and no image is kept.

    Args:
        name: a data set by name or a folder, as `load_data` takes it.
        progress: called with the number of images looked at, and of all.

    Raises:
        InputError: if there is no such data set.

    Example:
        >>> found = check_data("digits")
        >>> found.images, found.count("error")
        ({'train': 1797}, {})
    """
    layout, root = layouts.find_layout(str(name))
    problems: list[Problem] = []
    listing: Listing | None = None
    try:
        if layout in layouts.LISTINGS:
            listing = layouts.LISTINGS[layout](root, problems.append)
            classes, splits = listing.classes, dict(listing.splits)
            total = sum(map(len, splits.values()))
            seen = _look_at_files(splits)
        else:
            raw = readers.read(str(name))
            classes = raw.classes
            total = sum(len(labels) for _, labels in raw.splits.values())
            seen = _look_at_arrays(raw.splits)
    except InputError as reason:
        return Findings(str(name), {}, (), (Problem("error", str(name), f"cannot be used: {reason}", "no data set"),))
    overview = _Overview(problems.append)
    for count, image in enumerate(seen, start=1):
        overview.add(image)
        if progress is not None:
            progress(count, total)
    keys = keys_of(overview.training, listing) if listing else []
    _judge_whole(str(name), layout, classes, overview, problems.append, keys)
    problems.sort(key=lambda problem: ORDER.index(problem.severity))  # stable: within a severity as found
    return Findings(str(name), dict(overview.images), classes, tuple(problems))


def decode_each(sources: Sequence[Source], problems: list[Problem], progress: Progress | None) -> tuple[Problem, ...]:
    """`problems` and those of images that cannot be decoded, errors first; every image is decoded, none is kept."""
    for count, problem in enumerate(in_threads(damage_of, sources), start=1):
        problems += [] if problem is None else [problem]
        if progress is not None:
            progress(count, len(sources))
    return tuple(sorted(problems, key=lambda problem: ORDER.index(problem.severity)))  # stable: as found within each


class _Overview:
    """What is known of all images so far: a digest and a label each, never the images."""

    def __init__(self, on_problem: OnProblem) -> None:
        self.on_problem = on_problem
        self.images: Counter[str] = Counter()
        self.labels: dict[str, list[int]] = {}
        self.sizes: set[tuple[int, int]] = set()
        self.coloured = 0
        self.grey: list[str] = []
        self.first: dict[bytes, tuple[str, str, int]] = {}
        self.training: list[Sample] = []

    def add(self, seen: _Seen) -> None:
        self.images[seen.split] += 1
        self.labels.setdefault(seen.split, [])
        for problem in seen.problems:
            self.on_problem(problem)
        if seen.digest is None:
            return
        self.labels[seen.split].append(seen.label)
        if seen.split == "train":
            self.training.append((seen.source, seen.label))
        self.sizes.add(seen.size)
        if seen.grey:
            self.grey.append(seen.location)
        else:
            self.coloured += 1
        if seen.digest in self.first:
            self.on_problem(_duplicate(seen, *self.first[seen.digest]))
        else:
            self.first[seen.digest] = (seen.split, seen.location, seen.label)


def _look_at_files(splits: Mapping[str, Samples]) -> Iterator[_Seen]:
    def look(item: tuple[str, Sample]) -> _Seen:
        split, (source, label) = item
        location = describe_source(source)
        try:
            with opened(source) as image:
                decoded(image, source)
                size, grey, notes = image.size, image.mode in GREY, _oddities(image)
                pixels = converted(image, source, 3)
        except BadImageError as bad:
            return _Seen(split, location, label, (bad.problem,))
        problems = tuple(Problem("note", location, note, "converted image") for note in notes)
        file = source if isinstance(source, Path) else b""
        return _Seen(split, location, label, problems, _digest(pixels.tobytes(), pixels.size), size, grey, file)

    return in_threads(look, ((split, sample) for split, part in splits.items() for sample in part))


def _look_at_arrays(splits: Mapping[str, tuple[readers.Images, Tensor]]) -> Iterator[_Seen]:
    for split, (images, labels) in splits.items():
        height, width = images.shape[2:]
        for row, label in enumerate(labels.tolist()):
            digest = _digest(images[torch.tensor([row])].numpy().tobytes(), (width, height))
            yield _Seen(split, f"{split} image {row}", label, (), digest, (width, height))


def _digest(pixels: bytes, size: tuple[int, int]) -> bytes:
    return blake2b(pixels, digest_size=16, person=b"%dx%d" % size).digest()


def _oddities(image: Image.Image) -> list[str]:
    """How an image is read that is not plain grey or RGB."""
    mode, found = image.mode, []
    if mode == "1":
        found.append("has 1 bit per pixel: read as black and white")
    elif mode.startswith("I"):
        found.append("has 16 bits per channel: scaled to 8")
    elif mode.startswith("P"):
        found.append("has a palette: read as the colours it names")
    elif mode not in ("L", "LA", "La", "RGB", "RGBA", "RGBa"):
        found.append(f"is {mode}: converted to RGB without a colour profile")
    if mode in ALPHA or "transparency" in image.info:
        found.append("has transparency: dropped, and the colours beneath are used")
    if _orientation(image) in range(2, 9):
        found.append(f"is rotated or mirrored (EXIF orientation {_orientation(image)}): turned upright")
    if getattr(image, "is_animated", False):
        found.append("has several frames: the first is used")
    return found


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # damaged EXIF
        return None


def _duplicate(seen: _Seen, split: str, location: str, label: int) -> Problem:
    """An image that was there before: another label contradicts, another split leaks, and else it counts double."""
    where = f"{location} of the {split} split" if split != seen.split else location
    if label != seen.label:
        reason = f"shows the same image as {where}, but has another label; keep the right one"
        return Problem("warning", seen.location, reason, "duplicate with another label")
    if split != seen.split:
        reason = f"shows the same image as {where}; keep it in one of them"
        return Problem("warning", seen.location, reason, "duplicate in another split")
    return Problem("note", seen.location, f"shows the same image as {where}; it counts twice", "duplicate")


def _judge_whole(
    name: str,
    layout: str,
    classes: tuple[str, ...],
    overview: _Overview,
    on_problem: OnProblem,
    keys: Sequence[str],
) -> None:
    """What only the whole set shows."""

    def say(severity: Severity, location: str, reason: str, kind: str) -> None:
        on_problem(Problem(severity, location, reason, kind))

    for split, labels in overview.labels.items():
        if found := judge_classes(f"{name} ({split})", split, classes, labels):
            on_problem(found)
    if len(overview.sizes) > 1 or any(width != height for width, height in overview.sizes):
        low, high = min(overview.sizes), max(overview.sizes)
        sizes = f"from {low[0]}x{low[1]} to {high[0]}x{high[1]}"
        reason = f"has images that differ in size or are not square ({sizes}): scaled and cropped to one size"
        say("note", name, f"{reason}, choose it with --image-size", "differing sizes")
    for location in overview.grey if overview.coloured else ():
        say("note", location, "is grey among colour images: read as three equal channels", "converted image")
    if overview.grey and not overview.coloured:
        say("note", name, "has grey images only: read as three equal channels", "converted image")
    labels_of_training = overview.labels.get("train")
    if layout == "digits" or not labels_of_training or len(classes) < 2:
        return
    empty: dict[str, tuple[readers.Images, Tensor]] = {
        split: (torch.empty(len(part), 0), torch.tensor(part)) for split, part in overview.labels.items()
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            divide(readers.Raw(classes, empty, keys=keys), validation=VALIDATION, seed=0)
        except InputError as reason:
            say("error", name, f"cannot be split: {reason}", "too few images")
    for warning in caught:
        say("warning", name, f"is too small to split well: {warning.message}", "too few images")
