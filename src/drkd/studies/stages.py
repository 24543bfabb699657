"""What `tune` searches, in the order of what it usually gains, and what each stage tries.

lr        cross-entropy at `RATES` times the given learning rate
average   the same at the best of them, with averaged weights
augment   the same with more augmentation
method    other methods, their settings and a learning rate near the best
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from drkd.config import TuneConfig, was_given
from drkd.config.effects import OF_LABELS
from drkd.config.options import MORE_AUGMENT
from drkd.data.augment import AUGMENTATIONS
from drkd.methods.registry import get_method
from drkd.studies.proposals import Options, Space
from drkd.tasks import TaskData
from drkd.utils.errors import InputError

if TYPE_CHECKING:
    import optuna

STAGES = ("lr", "average", "augment", "method")

RATE_RANGE = 5.0
"""The learning rate is searched from the given one over this number to this number times it."""

RATES = (1 / RATE_RANGE, RATE_RANGE**-0.5, 1.0, RATE_RANGE**0.5, RATE_RANGE)
"""Times the given learning rate: what cross-entropy is trained at."""

NEAR = RATE_RANGE**0.5
"""Methods are tried from cross-entropy's best learning rate over this number to this number times it: a step of
`RATES`."""


def stages_of(config: TuneConfig, source: Mapping[str, str]) -> list[str]:
    """The stages of a search: those that are asked for, or all whose options were not given.

    Raises:
        InputError: for a stage in `search` whose option was given.
    """
    given = {
        "average": [name for name in ("average",) if was_given(config, source, name)],
        "augment": [name for name in ("augment", "mixup", "cutmix") if was_given(config, source, name)],
    }
    if config.search is None:
        usual = STAGES if config.networks is None else ("lr", "method")
        return [stage for stage in usual if not given.get(stage)]
    for stage in config.search:
        if given.get(stage):
            raise InputError(f"--search {stage} has no effect with --{given[stage][0]}; use only one of the two")
    return [stage for stage in STAGES if stage in config.search]


def augmentations(config: TuneConfig, data: TaskData) -> list[Options]:
    """What is tried beside the usual augmentation; nothing with `--freeze backbone`, which reads every image once.

    Args:
        config: of the search.
        data: as trainings see it.
    """
    if config.freeze == "backbone" and config.task in OF_LABELS:
        return []
    if config.data == "digits":
        return [{"augment": "none"}]
    usual = next((name for name, each in AUGMENTATIONS.items() if each == getattr(data, "augmentation", None)), None)
    usual = config.augment or usual
    tried: list[Options] = []
    for added in MORE_AUGMENT.get(config.task, ()):
        name = str(added.get("augment", ""))
        if not name.startswith("+"):
            tried.append(added)
        elif usual is not None and (data.channels in (1, 3) or "erasing" in name):
            tried.append({"augment": name[1:] if usual == "none" else usual + name})
    return tried


def methods_space(config: TuneConfig, lr: float, *, searches_lr: bool) -> Space:
    """Methods, those of their settings that were not given, and a learning rate near `lr`."""

    def variant(trial: "optuna.trial.BaseTrial") -> str:
        method = str(trial.suggest_categorical("method", config.methods))
        space = get_method(method).search_space
        settings = [
            f"{name}={trial.suggest_float(f'{method}.{name}', **asdict(space[name])):.3g}"
            for name in space
            if getattr(config, name, None) is None
        ]
        if searches_lr:
            settings.append(f"lr={trial.suggest_float(f'{method}.lr', lr / NEAR, lr * NEAR, log=True):.3g}")
        return ":".join([method, *settings])

    return variant
