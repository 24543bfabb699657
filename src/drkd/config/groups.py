"""Options in groups, each described once: `drkd.fit`, every command, YAML files and the documentation read them here.

Each field is an option of the same name (`--batch-size` for `batch_size`) and a key of the same name in a file.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from drkd.config.fields import Average, Fractions, Pairs, Part, Rectify, Size, Teach, Text, Trackers, Weights, as_pairs

LARGEST = 2**32
"""No option that is a whole number goes beyond: libraries cannot count further."""


class Options(BaseModel):
    """What all groups are: unknown names are errors, values are checked and never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse yes and no where a number belongs: Python takes them for 1 and 0."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation not in (bool, bool | None):
            raise ValueError("a number or a name, not yes or no")
        return value

    @field_validator("*")
    @classmethod
    def _of_a_machine(cls, value: Any) -> Any:
        """Refuse whole numbers that no machine counts to."""
        if isinstance(value, int) and value >= LARGEST:
            raise ValueError(f"should be less than {LARGEST}")
        return value


class DataOptions(Options):
    """Which images, and how they are split."""

    data: Text = Field("digits", description="data set by name, a folder, or NAME:FOLDER for a data set elsewhere")
    image_size: int | None = Field(None, ge=4, description="scale and crop images to this side length")
    augment: str | None = Field(
        None,
        description="none, shift, crop_flip, cifar, tiny_imagenet or imagenet (default: the data's); add trivial, "
        "randaugment, jitter, erasing and others with +, as imagenet+trivial; see docs/data.md",
    )
    validation: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="fraction of the training split held out to choose the epoch; 0: none, and the last epoch is kept",
    )
    limit_train: int | None = Field(None, ge=1, description="keep this many training samples, stratified")
    limit_test: int | None = Field(None, ge=1, description="keep this many test samples, stratified")
    download: bool = Field(False, description="download a missing data set or missing weights")
    skip_bad_images: bool = Field(False, description="skip unreadable images, and count them")


class NetworkOptions(Options):
    """What is trained."""

    model: str = Field("small_cnn", description="network by name, or timm:NAME")
    weights: Text | None = Field(
        None, description="weights to start from: a file, a run, or hf_hub:OWNER/NAME (default: random)"
    )
    pretrained: bool = Field(
        False,
        description="start from published weights: timm's of timm:NAME or timm:NAME.TAG, or torchvision's of "
        "a detector or segmenter",
    )


class ScheduleOptions(Options):
    """How long, and at which learning rate."""

    epochs: int = Field(30, ge=1, description="passes over the training split")
    lr: float = Field(0.1, gt=0, description="peak learning rate")
    schedule: Literal["step", "cosine", "constant"] = Field(
        "step", description="step (times gamma at the milestones), cosine or constant"
    )
    milestones: Fractions = Field([0.3, 0.6, 0.8], description="for step: fractions of training, comma-separated")
    gamma: float = Field(0.2, gt=0, le=1, description="for step: factor at each milestone")
    warmup_epochs: float = Field(0.0, ge=0, description="epochs of learning-rate warm-up")


class OptimizerOptions(Options):
    """How a step is made."""

    batch_size: int = Field(128, ge=1, description="samples per optimizer step")
    sampler: Literal["shuffled", "balanced"] = Field(
        "shuffled", description="shuffled (each sample once an epoch), or balanced (each class equally often)"
    )
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="sgd (with momentum) or adamw")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay on all weights")
    clip_norm: float | None = Field(None, gt=0, description="clip the gradient's norm to this")


class FineTuningOptions(Options):
    """Which parts of a pretrained network learn, and how fast."""

    freeze: Part | None = Field(
        None,
        description="backbone: train only the classifier (of detectors and segmenters, all beside the backbone); "
        "a number: keep that many first blocks fixed",
    )
    head_epochs: int = Field(0, ge=0, description="train only the classifier for this many epochs, then everything")
    head_lr: float | None = Field(None, gt=0, description="peak learning rate of the classifier (default: --lr)")
    layer_decay: float | None = Field(
        None, gt=0, le=1, description="factor on the learning rate per block away from the classifier"
    )
    no_norm_decay: bool = Field(False, description="no weight decay on norms and biases")


class MixingOptions(Options):
    """Training images that are made of two."""

    mixup: float = Field(
        0.0, ge=0, description="blend two images with a weight from Beta(a, a); this is a, such as 0.2; 0: none"
    )
    cutmix: float = Field(
        0.0,
        ge=0,
        description="paste a box of one image into another; a as for mixup, such as 1; with both, each is used half "
        "the time",
    )
    mix_prob: float = Field(0.5, ge=0, le=1, description="fraction of images that mixup and cutmix mix")


class ComputeOptions(Options):
    """What computes, and in which form."""

    device: str = Field("auto", description="cpu, cuda, ...; auto uses an accelerator if there is one")
    precision: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        "float32",
        description="float32, bfloat16 or float16; auto measures the first two at the start, and uses bfloat16 "
        "if it saves a tenth of a step or more",
    )
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field(
        "auto", description="contiguous or channels_last; auto picks the faster one for the network"
    )
    compile: Literal["auto", "on", "off"] = Field("auto", description="on or off; auto compiles long trainings")
    workers: int | None = Field(None, ge=0, le=1024, description="image decoding threads (default: one per processor)")


class SelectionOptions(Options):
    """Which network is kept."""

    select: Literal["best", "last"] = Field(
        "best", description="which epoch to keep: the best on validation, or the last"
    )
    average: Average | None = Field(
        None, description="keep averaged weights instead: ema, ema:DECAY, swa or swa:FROM (default: none)"
    )


class PositionOptions(Options):
    """Where a detector is taught."""

    teach: Teach = Field(
        "all",
        description="for detectors, where the soft target counts: all, foreground, or a SCORE such as 0.05: "
        "foreground, and background that the student scores at least that high as an object",
    )


class CheckpointOptions(Options):
    """Where a training writes, and how often."""

    out: Text | None = Field(None, description="run directory (default: a new one under ./runs)")
    resume: bool = Field(False, description="accept a finished run in --out (an unfinished one resumes anyway)")
    checkpoint_every: Text = Field("epoch", description="epoch, a number of steps, or seconds such as 30s")


class LogOptions(Options):
    """Where else training is logged."""

    log: Trackers = Field([], description="report to tensorboard, mlflow or wandb, comma-separated (default: none)")


class FitOptions(
    LogOptions,
    CheckpointOptions,
    SelectionOptions,
    PositionOptions,
    ComputeOptions,
    FineTuningOptions,
    MixingOptions,
    OptimizerOptions,
    ScheduleOptions,
):
    """What all trainings have in common."""


class FitSettings(FitOptions):
    """Everything that `drkd.fit` can be asked for."""

    seed: int = Field(0, ge=0, description="fixes splits, initial weights, order and augmentation")


class ProcessOptions(Options):
    """The process that trains."""

    deterministic: bool = Field(False, description="reproducible numbers on an accelerator too, at some cost")
    threads: int | None = Field(None, ge=1, description="processor threads per training")


class LauncherOptions(Options):
    """Where the trainings of a comparison or a search run."""

    jobs: int | None = Field(None, ge=1, description="trainings at once (default: one per processor, 1 on a GPU)")
    launcher: Literal["local", "ray", "slurm"] = Field(
        "local", description="local: processes on this machine; ray: workers of a cluster; slurm: one job per training"
    )
    slurm_options: Pairs | None = Field(
        None, description="what a Slurm job requests, such as partition=gpu,timeout_min=240,mem_gb=16"
    )

    @property
    def slurm_parameters(self) -> dict[str, str | int]:
        """The options of Slurm by name."""
        return as_pairs(self.slurm_options) if self.slurm_options else {}


class CacheOptions(Options):
    """Where the answers of frozen networks are kept."""

    cache_size: Size = Field(
        "0", description="size limit of the cache for teacher outputs and frozen features, such as 2GB; 0: no cache"
    )
    cache: Text | None = Field(None, description="folder of the cache (default: teacher-cache, beside the run)")


class TeacherOptions(Options):
    """How a frozen network is asked."""

    teacher_precision: Literal["float32", "bfloat16", "auto"] | None = Field(
        None,
        description="precision of the teacher: float32, or bfloat16 if its outputs stay close; auto measures both at "
        "the start (default: as --precision)",
    )


class LossOptions(Options):
    """How much a sample counts, whatever the method."""

    class_weights: Weights | None = Field(
        None, description="weight of each class: balanced, or one number per class (default: equal)"
    )


class MethodSettings(Options):
    """Settings of methods; None leaves the method its own default."""

    alpha: float | None = Field(None, ge=0, le=1, description="weight of the soft target (default: the method's)")
    alpha_schedule: Literal["constant", "linear", "cosine", "rising"] | None = Field(
        None, description="constant, linear or cosine (from alpha to 0 over the training), or rising (from 0 to alpha)"
    )
    temperature: float | None = Field(None, gt=0, le=1e6, description="softening (default: the method's)")
    epsilon: float | None = Field(None, ge=0, le=1, description="for label_smoothing: weight of the uniform target")
    correct_prob: float | None = Field(
        None, gt=0, lt=1, description="for tf_kd_reg: the virtual teacher's probability of the label"
    )
    source: Literal["memory", "ema"] | None = Field(None, description="for online_dr_kd: what teaches, memory or ema")
    decay: float | None = Field(None, ge=0, le=1, description="decay of the running average of --source ema")
    rectify: Rectify | None = Field(
        None,
        description="for dr_kd and online_dr_kd, how to correct the teacher: swap; bayes or bayes:WRONG: Bayes' rule "
        "for labels that are wrong with this probability (0.2); smooth or drop",
    )
    keep: Literal["full", "half"] | int | None = Field(
        None, description="for ps_kd and online_dr_kd: remember full logits, half (float16), or this many of them"
    )
    convention: Literal["batchmean", "reference"] | None = Field(
        None, description="batchmean, or reference to compute the public code's losses"
    )
    multiplier: float | None = Field(None, gt=0, description="for the reference convention: factor on the soft target")


METHOD_SETTINGS = tuple(MethodSettings.model_fields)
"""Fields that belong to the method."""
