"""A training of a comparison, before it is made."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from drkd.config import TrainConfig
from drkd.runs.fold_teachers import fold_runs
from drkd.utils.objects import Objects


@dataclass(frozen=True)
class Training:
    """One training of a comparison.

    Attributes:
        panel, method: where it belongs in the results.
        config: its settings.
        out: its run directory.
        taught_by: the training of the comparison whose network is its teacher, if any; of the teachers of folds, which
            wait for each other, the last one.
        objects: those of Python that its settings name.
    """

    panel: str
    method: str
    config: TrainConfig
    out: Path
    taught_by: "Training | None" = None
    objects: Objects = field(default_factory=Objects)

    @property
    def name(self) -> str:
        """What events call it."""
        return f"{self.panel}, seed {self.config.seed}, {self.method}"

    def fold_teachers(self, folder: Path, folds: int) -> "list[Training]":
        """Trainings as this one, each without a fold of the training images; each waits for the one before."""
        made = [self]
        for config, out in fold_runs(self.config, folder, folds):
            made.append(replace(self, method=f"teacher {config.fold}", config=config, out=out, taught_by=made[-1]))
        return made[1:]
