"""Options that have no effect beside others. Who gives one expects something of it, so it is refused."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from drkd.config.fields import as_bytes
from drkd.utils.errors import InputError

GIVEN = ("command line", "file")
"""Where the values come from that somebody gave."""


class WithoutEffect(NamedTuple):
    """When an option has no effect.

    Attributes:
        option: by field name.
        because: the option that decides, by field name, or several of them.
        when: whether the value of that option leaves `option` without effect; of several, that of each.
        instead: what to choose for the option to count.
    """

    option: str
    because: str | tuple[str, ...]
    when: Callable[[Any], bool]
    instead: str

    @property
    def causes(self) -> tuple[str, ...]:
        """The options that decide."""
        return (self.because,) if isinstance(self.because, str) else self.because

    def holds(self, config: BaseModel) -> bool:
        """Whether `option` has no effect in `config`; where one of the options is not there, nothing is known."""
        if not {self.option, *self.causes} <= set(type(config).model_fields):
            return False
        return all(self.when(getattr(config, cause)) for cause in self.causes)


OF_LABELS = ("classification", "multilabel")
"""Tasks whose teachers get images alone."""

WEIGHED = ("classification", "segmentation")
"""Tasks whose classes can be given weights."""

OF_TASK, OF_ORDER = ("classification", "backbone"), ("shuffled", "backbone")
"""What leaves a cache its effect: it keeps the features of a frozen backbone whatever the task and the order."""

TABLE = (
    WithoutEffect("momentum", "optimizer", lambda name: name != "sgd", "--optimizer sgd"),
    WithoutEffect("milestones", "schedule", lambda name: name != "step", "--schedule step"),
    WithoutEffect("gamma", "schedule", lambda name: name != "step", "--schedule step"),
    WithoutEffect("cache", ("task", "freeze"), lambda value: value not in OF_TASK, "--task classification"),
    WithoutEffect("cache_size", ("task", "freeze"), lambda value: value not in OF_TASK, "--task classification"),
    WithoutEffect("cache", ("sampler", "freeze"), lambda value: value not in OF_ORDER, "--sampler shuffled"),
    WithoutEffect("cache_size", ("sampler", "freeze"), lambda value: value not in OF_ORDER, "--sampler shuffled"),
    WithoutEffect("head_epochs", "freeze", lambda what: what == "backbone", "--freeze with a number"),
    WithoutEffect("head_lr", "freeze", lambda what: what == "backbone", "--freeze with a number"),
    WithoutEffect("layer_decay", "freeze", lambda what: what == "backbone", "--freeze with a number"),
    WithoutEffect("class_weights", "task", lambda name: name not in WEIGHED, "--task classification or segmentation"),
    WithoutEffect("sampler", "task", lambda name: name != "classification", "--task classification"),
    WithoutEffect("mixup", "task", lambda name: name != "classification", "--task classification"),
    WithoutEffect("cutmix", "task", lambda name: name != "classification", "--task classification"),
    WithoutEffect("mix_prob", ("mixup", "cutmix"), lambda alpha: alpha == 0, "--mixup 0.2 or --cutmix 1"),
    WithoutEffect("teacher_precision", "task", lambda name: name not in OF_LABELS, "--task classification"),
    WithoutEffect("fold", "task", lambda name: name != "classification", "--task classification"),
    WithoutEffect("teacher_folds", "task", lambda name: name != "classification", "--task classification"),
    WithoutEffect("keep_answers", "task", lambda name: name != "classification", "--task classification"),
    WithoutEffect("teach", "task", lambda name: name != "detection", "--task detection"),
    WithoutEffect("cache", "cache_size", lambda size: as_bytes(size) == 0, "--cache-size 2GB"),
    WithoutEffect("slurm_options", "launcher", lambda name: name != "slurm", "--launcher slurm"),
    WithoutEffect("max_ms", "networks", lambda names: names is None, "--networks A,B"),
    WithoutEffect("max_mb", "networks", lambda names: names is None, "--networks A,B"),
    WithoutEffect("latency_threads", "networks", lambda names: names is None, "--networks A,B"),
    WithoutEffect("methods", "search", lambda what: what is not None and "method" not in what, "--search method"),
    WithoutEffect("round", "search", lambda what: what is not None and "method" not in what, "--search method"),
    WithoutEffect("calibration", "quantize", lambda name: name is None, "--quantize int8"),
    WithoutEffect("calibration_samples", "quantize", lambda name: name is None, "--quantize int8"),
)
"""Settings of methods are not here: a method refuses what it does not take."""


def as_flag(name: str) -> str:
    """An option as the command line writes it."""
    return f"--{name.replace('_', '-')}"


def refuse_without_effect(
    config: BaseModel, origins: Mapping[str, str], *, called: Callable[[str], str] = as_flag
) -> None:
    """Refuse an option that was given and has no effect.

    A file may hold a default of such an option: a run's own `config.yaml` has all of them.

    Args:
        config: whose options are looked at.
        origins: where each of its values came from, as `resolve` says it.
        called: how messages call an option.

    Raises:
        InputError: for the first such option, with what to do.

    Example:
        >>> from drkd.config import TrainConfig, resolve
        >>> resolve(TrainConfig, {"optimizer": "adamw", "momentum": 0.5})
        Traceback (most recent call last):
        ...
        drkd.utils.errors.InputError: --momentum has no effect with --optimizer adamw; leave it out, or choose \
--optimizer sgd
    """
    for row in TABLE:
        if row.option in type(config).model_fields and was_given(config, origins, row.option) and row.holds(config):
            values = [getattr(config, cause) for cause in row.causes]
            names = [called(cause) for cause in row.causes]
            beside = f"with {names[0]} {values[0]}" if any(values) else f"without {' and '.join(names)}"
            better = row.instead
            for cause in row.causes:
                better = better.replace(as_flag(cause), called(cause))
            raise InputError(f"{called(row.option)} has no effect {beside}; leave it out, or choose {better}")


def has_effect(config: BaseModel, option: str) -> bool:
    """Whether an option has an effect beside the others of `config`, by the table."""
    return not any(row.option == option and row.holds(config) for row in TABLE)


def was_given(config: BaseModel, origins: Mapping[str, str], option: str) -> bool:
    """Whether somebody gave a value to `option`; a default in a file does not count."""
    value = getattr(config, option)
    if value is None or origins.get(option) not in GIVEN:
        return False
    return origins[option] == "command line" or value != type(config).model_fields[option].default
