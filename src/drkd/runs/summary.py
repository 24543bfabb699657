"""What a run came to: the content of its `summary.json`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from drkd.tasks import SplitMetrics, metrics_from_json
from drkd.utils.errors import InputError
from drkd.utils.files import read_json, write_checked_json

FILE = "summary.json"
"""Its name; only a finished run has it."""


@dataclass(frozen=True)
class TeacherRecord:
    """Who taught: where the network came from, and the hash of its weights."""

    path: str
    sha256: str


@dataclass(frozen=True)
class RunSummary:
    """The result of a run.

    Attributes:
        method, seed, epochs: what was trained.
        best_epoch: whose network is kept, from 0; `select` says how it was chosen: `best` on validation, or `last`.
        train_accuracy: of that epoch, on augmented images; None for detectors.
        val, test: metrics of the network on these splits; None where there is no validation split.
        kept_epochs: test metrics of the networks kept after other epochs, by epoch.
        rectified_fraction_per_epoch: fraction of changed targets; None for methods without rectification.
        teacher: None without one.
        teacher_train_accuracy, teacher_train_map50, teacher_train_miou: the teacher on the training split, as
            classifier, as detector or as segmenter.
        teacher_seconds, train_seconds, wall_seconds: training time of the teacher where it was trained here, of the
            network, and of everything.
        skipped_images: images that were left out, by split.
        effective_weights: final weight of each term on its cross-entropy.
        notes: warnings, once each.
        seconds_per_epoch: of the fastest epoch, validation included: whatever else the machine does only adds to it.
            With `average=swa` the mean of that before the average begins and that from then on, by their epochs.
        teacher_seconds_per_epoch: the same of the teacher where it was trained here, and of those of folds their sum; 0
            where it was not, None where it is unknown.
        teacher_cached: fraction of epochs whose teacher outputs came from a cache, or some of them; None without one.
        data_size: `classes`, `image_size`, and the samples of `train`, `val` and `test`.
        data_fingerprint: hash of the names, labels, sizes, contents and splits of the data.
        metrics_sha256: of `metrics.csv`.
    """

    method: str
    seed: int
    epochs: int
    best_epoch: int
    select: str
    train_accuracy: float | None
    val: SplitMetrics | None
    test: SplitMetrics
    kept_epochs: dict[str, SplitMetrics]
    rectified_fraction_per_epoch: list[float] | None
    teacher: TeacherRecord | None
    teacher_train_accuracy: float | None
    teacher_seconds: float
    train_seconds: float
    skipped_images: dict[str, int]
    wall_seconds: float = 0.0
    effective_weights: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    teacher_train_map50: float | None = None
    teacher_train_miou: float | None = None
    seconds_per_epoch: float | None = None
    teacher_seconds_per_epoch: float | None = None
    teacher_cached: float | None = None
    data_size: dict[str, int] = field(default_factory=dict)
    data_fingerprint: str | None = None
    metrics_sha256: str | None = None

    def write(self, out: Path) -> None:
        """Write `summary.json` into the run directory `out`."""
        write_checked_json(out / FILE, asdict(self))

    @classmethod
    def read(cls, out: Path) -> "RunSummary":
        """What the run directory `out` came to.

        Raises:
            InputError: if it holds no finished run of drkd.
        """
        needed = [name for name, each in cls.__dataclass_fields__.items() if name not in OPTIONAL]
        content = read_json(out / FILE, needs=needed)
        known = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
        try:
            known["test"] = metrics_from_json(known["test"])
            known["val"] = known["val"] and metrics_from_json(known["val"])
            known["kept_epochs"] = {name: metrics_from_json(each) for name, each in known["kept_epochs"].items()}
            known["teacher"] = known["teacher"] and TeacherRecord(**known["teacher"])
        except (AttributeError, TypeError) as reason:
            raise InputError(f"{out / FILE} is not in drkd's format: {reason}; give another run") from reason
        return cls(**known)


OPTIONAL: Any = (
    *("wall_seconds", "effective_weights", "notes", "teacher_train_map50", "data_fingerprint"),
    "teacher_train_miou",
    *("seconds_per_epoch", "teacher_seconds_per_epoch", "teacher_cached", "data_size", "metrics_sha256"),
)
"""What a summary may lack."""


def mean_seconds_per_epoch(seconds: Sequence[float], changes: set[int]) -> float:
    """Those of the fastest epoch; where epochs cost another time from those in `changes` on, the mean of all kinds.

    Example:
        >>> mean_seconds_per_epoch([1.0, 2.0, 4.0, 6.0], {0, 2})
        2.5
    """
    kinds = [seconds[begin:end] for begin, end in pairwise([0, *sorted(changes), len(seconds)]) if begin < end]
    return min(seconds) if len(kinds) == 1 else sum(len(kind) * min(kind) for kind in kinds) / len(seconds)
