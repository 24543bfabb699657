"""A folder per class, in three splits or in one."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from drkd.data.files import IMAGE_SUFFIXES, cannot_be_read, files_below, is_hidden, is_image, splits_in, visible
from drkd.data.listing import Listing, Sample, split_locations
from drkd.data.own_output import without_own_output
from drkd.data.problems import OnProblem, Problem, problem_at, refuse, shown, some
from drkd.data.record import relative_name
from drkd.data.votes import VOTES_FILE, Votes, read_votes
from drkd.utils.errors import InputError
from drkd.utils.text import counted


def list_folder(root: Path, on_problem: OnProblem = refuse) -> Listing:
    """A folder per class, under `train`, `val` and `test` folders or directly under `root`.

    Raises:
        InputError: for a folder of images with boxes.
    """
    _refuse_boxes(root)
    found = split_locations(root, lambda path: path.is_dir())
    if not found:
        return _with_votes(root, replace(list_classes({"train": root}, on_problem), divide_by_name=root), on_problem)
    chosen = {split: locations[0] for split, locations in found.items()}
    folders = [path for path in visible(root) if path.is_dir() and path not in chosen.values()]
    others = without_own_output(folders, on_problem)
    if others and not _class_folders(chosen["train"], _ignore):
        classes = ", ".join(sorted(shown(path.name) for path in (*chosen.values(), *others)))
        reason = f"is read as the training split, but has no folder per class; if {classes} are the classes, put them"
        on_problem(problem_at(chosen["train"], f"{reason} all into a folder called train", "missing class"))
        return Listing((), {})
    for path in others:
        reason = f"is skipped: the splits are read from {', '.join(shown(location) for location in chosen.values())}"
        on_problem(problem_at(path, reason, "other folder", "warning"))
    listing = replace(list_classes(chosen, on_problem), divide_by_name=chosen["train"])
    return _with_votes(root, listing, on_problem)


def _with_votes(root: Path, listing: Listing, on_problem: OnProblem) -> Listing:
    """The same images with the votes that annotators gave, where there is a file of them."""
    votes = dict(read_votes(root, listing.classes, on_problem))
    if not votes:
        return listing

    def voted(sample: Sample) -> Sample:
        path, label = sample
        given = votes.pop(relative_name(Path(str(path)), root), None)
        own = None if given is None else Votes.of(given, label)
        return path, label if own is None else own  # not `or`: the first class is 0

    splits = {split: [voted(sample) for sample in samples] for split, samples in listing.splits.items()}
    if votes:
        reason = f"has votes for {counted(len(votes), 'file')} not among its images: {some(sorted(votes))}"
        on_problem(problem_at(root / VOTES_FILE, reason, "other file", "warning"))
    return replace(listing, splits=splits)


def list_classes(locations: Mapping[str, Path], on_problem: OnProblem) -> Listing:
    """The folders of the training split are the classes."""
    train = locations["train"]
    classes = tuple(_class_folders(train, on_problem))
    if len(classes) < 2:
        on_problem(
            problem_at(train, f"needs at least 2 folders, one per class, got {_got(train, classes)}", "missing class")
        )
    like_splits = [name for name in classes if splits_in(name)]
    if len(stands_for := set().union(*map(splits_in, like_splits))) > 1 and "train" in stands_for:
        reason = f"has folders that are read as classes although their names look like splits: {', '.join(like_splits)}"
        on_problem(problem_at(train, f"{reason}; call splits train, val and test", "split as class", "warning"))
    for first, _ in _spelled_alike(classes):
        reason = f"has two folders called {shown(first)} that differ in Unicode composition (NFC, NFD) only; merge them"
        on_problem(problem_at(train, reason, "unknown class"))
    splits: dict[str, list[Sample]] = {}
    for split, location in locations.items():
        own = _class_folders(location, on_problem if split != "train" else _ignore)
        strangers = sorted(set(own) - set(classes))
        if strangers:
            alike = [first for first, _ in _spelled_alike([*classes, *strangers])]
            hint = f" ({shown(alike[0])} differs in Unicode composition, NFC or NFD, only: rename it)" if alike else ""
            reason = f"has classes that the training split does not have: {', '.join(map(shown, strangers))}{hint}"
            on_problem(problem_at(location, reason, "unknown class"))
        splits[split] = [
            (path, label) for label, name in enumerate(classes) for path in images_of(location / name, on_problem)
        ]
        if classes and not splits[split]:  # without classes, one error says it all
            reason = f"holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})"
            if loose := _loose_images(location):
                found = counted(len(loose), "image")
                reason = f"has {found}, but no folder per class; sort them into one folder per class, or remove them"
            on_problem(problem_at(location, reason, "empty split"))
    return Listing(classes, splits)


def images_of(folder: Path, on_problem: OnProblem) -> list[Path]:
    """The images below `folder`, in order."""
    if not folder.exists():
        return []
    files = files_below(folder, on_problem)
    others = [shown(path.name) for path in files if not is_image(path)]
    if others:
        reason = f"has {counted(len(others), 'file')} without an image's extension, left out: {some(others)}"
        on_problem(problem_at(folder, reason, "other file", "warning"))
    return [path for path in files if is_image(path) and _decodable(path, on_problem)]


def _refuse_boxes(root: Path) -> None:
    """Images with boxes would be read as classes called `Annotations` and `JPEGImages`."""
    homes = [root, *(path for path in visible(root) if path.is_dir())]
    voc = any((home / "Annotations").is_dir() and (home / "JPEGImages").is_dir() for home in homes)
    coco = [*root.glob("annotations/*.json"), *root.glob("*/_annotations.coco.json")]
    if voc or any(not is_hidden(path) for path in coco):
        kind = "Pascal VOC" if voc else "COCO"
        raise InputError(f"{shown(root)} holds images with boxes, in the layout of {kind}; add --task detection")


def _got(location: Path, classes: Sequence[str]) -> str:
    """What there is instead of folders of classes, and what may be meant."""
    inner = _class_folders(location / classes[0], _ignore) if classes else []
    if len(inner) > 1:
        return f"{len(classes)}; {shown(classes[0])} holds {some(inner)}: give --data {shown(location / classes[0])}"
    loose = _loose_images(location)
    return f"{len(classes)}" + (f", and {counted(len(loose), 'image')} outside of them" if loose else "")


def _spelled_alike(names: Sequence[str]) -> list[tuple[str, str]]:
    """Names that look alike, but are composed of other characters."""
    first: dict[str, str] = {}
    return [
        (name, known) for name in names if (known := first.setdefault(unicodedata.normalize("NFC", name), name)) != name
    ]


def _class_folders(location: Path, on_problem: OnProblem) -> list[str]:
    try:
        found = visible(location)
    except OSError as failure:
        on_problem(cannot_be_read(location, failure))
        return []
    folders = without_own_output([path for path in found if path.is_dir()], on_problem)
    for path in found:
        if path.is_symlink() and not path.exists():
            on_problem(problem_at(path, "is a broken link; it is skipped", "linked folder", "warning"))
    if folders and (loose := _loose_images(location)):
        reason = f"has {counted(len(loose), 'image')} outside of class folders, left out: {some(loose)}"
        on_problem(problem_at(location, reason, "other file", "warning"))
    return [path.name for path in folders if _decodable(path, on_problem)]


def _loose_images(location: Path) -> list[str]:
    """Images right in a folder of classes."""
    try:
        return [shown(path.name) for path in visible(location) if is_image(path) and not path.is_dir()]
    except OSError:  # reported by those who list its folders
        return []


def _decodable(path: Path, on_problem: OnProblem) -> bool:
    """Whether a name can be written into a result; if not, that is reported."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        on_problem(problem_at(path, "has a name that is not UTF-8; rename it", "unreadable name"))
        return False
    return True


def _ignore(problem: Problem) -> None:
    """What was reported before."""
