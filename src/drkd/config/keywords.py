"""The options once more, as type checkers and editors know keyword arguments.

`drkd.fit`, `drkd.compare`, `drkd.tune` and `drkd.reproduce` take them as `**options`. A test holds every class here to
the configuration of the same name: fields and types are equal.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypedDict

Precision = Literal["float32", "bfloat16", "float16"]
Path = str | PathLike[str]
Maker = Callable[..., Any]
"""A function or a class that makes a network or an objective; a network is one too."""


class DataKeywords(TypedDict, total=False):
    """See `drkd.config.groups.DataOptions`."""

    data: Path | Any
    image_size: int | None
    augment: str | None
    validation: float
    limit_train: int | None
    limit_test: int | None
    download: bool
    skip_bad_images: bool


class FitOptionsKeywords(TypedDict, total=False):
    """See `drkd.config.groups.FitOptions`."""

    epochs: int
    lr: float
    schedule: Literal["step", "cosine", "constant"]
    milestones: Sequence[float]
    gamma: float
    warmup_epochs: float
    batch_size: int
    sampler: Literal["shuffled", "balanced"]
    optimizer: Literal["sgd", "adamw"]
    momentum: float
    weight_decay: float
    clip_norm: float | None
    freeze: Literal["backbone"] | int | None
    head_epochs: int
    head_lr: float | None
    layer_decay: float | None
    no_norm_decay: bool
    mixup: float
    cutmix: float
    mix_prob: float
    device: str
    precision: Precision | Literal["auto"]
    memory_format: Literal["auto", "contiguous", "channels_last"]
    compile: Literal["auto", "on", "off"]
    workers: int | None
    select: Literal["best", "last"]
    average: str | None
    teach: str
    out: Path | None
    resume: bool
    checkpoint_every: str | int
    log: Sequence[Literal["tensorboard", "mlflow", "wandb"]]


class FitKeywords(FitOptionsKeywords, total=False):
    """See `drkd.config.FitSettings`."""

    seed: int


class MethodKeywords(TypedDict, total=False):
    """See `drkd.config.groups.MethodSettings`."""

    alpha: float | None
    alpha_schedule: Literal["constant", "linear", "cosine", "rising"] | None
    temperature: float | None
    epsilon: float | None
    correct_prob: float | None
    source: Literal["memory", "ema"] | None
    decay: float | None
    rectify: str | None
    keep: Literal["full", "half"] | int | None
    convention: Literal["batchmean", "reference"] | None
    multiplier: float | None


class TrainingKeywords(MethodKeywords, FitOptionsKeywords, DataKeywords, total=False):
    """See `drkd.config.TrainingConfig`."""

    model: str | Maker
    weights: Path | None
    class_weights: Literal["balanced"] | Sequence[float] | None
    pretrained: bool
    deterministic: bool
    threads: int | None
    cache_size: str
    cache: Path | None
    teacher_precision: Literal["float32", "bfloat16", "auto"] | None


class LauncherKeywords(TypedDict, total=False):
    """See `drkd.config.groups.LauncherOptions`."""

    jobs: int | None
    launcher: Literal["local", "ray", "slurm"]
    slurm_options: str | None


class CompareKeywords(LauncherKeywords, TrainingKeywords, total=False):
    """See `drkd.config.CompareConfig`."""

    task: Literal["classification", "detection", "segmentation", "multilabel"]
    methods: Sequence[str] | str | Sequence[str | Maker | Mapping[str, Maker]] | Mapping[str, Maker] | Maker
    method_options: Mapping[str, Mapping[str, Any]]
    teacher: Path | None
    teacher_folds: int | None
    seeds: int
    label_noise: Sequence[float] | float


class TuneKeywords(LauncherKeywords, TrainingKeywords, total=False):
    """See `drkd.config.TuneConfig`."""

    task: Literal["classification", "detection", "segmentation", "multilabel"]
    methods: Sequence[str] | str | Sequence[str | Maker | Mapping[str, Maker]] | Mapping[str, Maker] | Maker
    search: Sequence[Literal["lr", "average", "augment", "method"]] | None
    networks: Sequence[str] | str | None
    max_ms: float | None
    max_mb: float | None
    latency_threads: int
    round: int
    trials: int
    hours: float | None
    label_noise: float
    teacher: Path | None


class ReproduceKeywords(TypedDict, total=False):
    """See `drkd.config.ReproduceConfig`."""

    seeds: int
    miniature: bool
    out: Path
    jobs: int | None
    data: Path | None
    download: bool | None
    image_size: int | None
    limit_train: int | None
    limit_test: int | None
    epochs: int | None
    batch_size: int | None
    device: str | None
    precision: Precision | None
    threads: int | None
    checkpoint_every: str | int | None
