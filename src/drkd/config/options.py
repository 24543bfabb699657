"""What a run can be told, in one place: the command line, the YAML files and the documentation all come from here.

Each field is an option of the same name (`--batch-size` for `batch_size`) and a key of the same name in a file.
"""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from drkd.config.fields import Epochs, Fractions, Names, Size

STANDARD = ["cross_entropy", "label_smoothing", "tf_kd_reg", "tf_kd_self", "dr_kd", "ps_kd", "online_dr_kd"]
"""What `compare` and `bench` take where no method is named."""


TASK = "classification, or detection: images with boxes, see docs/detection.md"


class TrainingConfig(BaseModel):
    """What `train` and `compare` have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    data: str = Field("digits", description="data set by name, or a folder")
    model: str = Field("small_cnn", description="network by name, or timm:NAME")
    weights: str | None = Field(None, description="file of weights to start from (default: random)")
    image_size: int | None = Field(None, ge=4, description="scale and crop images to this side length")
    augment: str | None = Field(
        None, description="none, shift, crop_flip, cifar, tiny_imagenet or imagenet (default: the data's)"
    )
    validation: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="part of the training split held out to choose the epoch; 0: none, and the last epoch is taken",
    )
    select: Literal["best", "last"] = Field(
        "best", description="network that is kept: of the epoch best on validation, or of the last"
    )
    limit_train: int | None = Field(None, ge=1, description="keep this many training samples, stratified")
    limit_test: int | None = Field(None, ge=1, description="keep this many test samples, stratified")
    download: bool = Field(False, description="fetch a missing data set")
    skip_bad_images: bool = Field(False, description="leave out images that cannot be read, and count them")

    epochs: int = Field(30, ge=1, description="passes over the training split")
    batch_size: int = Field(128, ge=1, description="samples per optimizer step")
    lr: float = Field(0.1, gt=0, description="learning rate at its highest")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="sgd (with momentum) or adamw")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(5e-4, ge=0, description="pull of all weights towards 0")
    schedule: Literal["step", "cosine", "constant"] = Field(
        "step", description="step (times gamma at the milestones), cosine or constant"
    )
    milestones: Fractions = Field([0.3, 0.6, 0.8], description="of step: parts of the training, comma-separated")
    gamma: float = Field(0.2, gt=0, le=1, description="of step: factor at each milestone")
    warmup_epochs: float = Field(0.0, ge=0, description="epochs over which the learning rate climbs")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the gradient")
    device: str = Field("auto", description="cpu, cuda, ...; auto takes an accelerator where there is one")
    precision: Literal["float32", "bfloat16", "float16"] = Field("float32", description="float32, bfloat16 or float16")
    deterministic: bool = Field(False, description="same numbers every time on an accelerator too, at some cost")
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field(
        "auto", description="contiguous or channels_last; auto takes what is faster for the network"
    )
    compile: Literal["auto", "on", "off"] = Field("auto", description="on or off; auto compiles long trainings")
    threads: int | None = Field(None, ge=1, description="processor threads per training")
    workers: int | None = Field(None, ge=0, description="threads that decode images (default: one per processor)")
    cache_size: Size = Field("0", description="most that the cache of teachers' answers may hold, such as 2GB; 0: none")
    cache: str | None = Field(None, description="its folder (default: teacher-cache, beside the run)")

    alpha: float | None = Field(None, ge=0, le=1, description="weight of the soft target (default: the method's)")
    temperature: float | None = Field(None, gt=0, description="softening (default: the method's)")
    epsilon: float | None = Field(None, ge=0, le=1, description="of label_smoothing")
    correct_prob: float | None = Field(None, gt=0, lt=1, description="of tf_kd_reg's virtual teacher")
    source: Literal["memory", "ema"] | None = Field(None, description="of online_dr_kd: memory or ema")
    decay: float | None = Field(None, ge=0, le=1, description="of online_dr_kd's running average, --source ema")
    rectify: Literal["swap", "smooth", "drop"] | None = Field(
        None, description="of dr_kd and online_dr_kd: swap, smooth or drop the teacher's mistakes"
    )
    keep: Literal["full", "half"] | int | None = Field(
        None, description="of ps_kd and online_dr_kd: remember full logits, half (float16), or this many of them"
    )
    convention: Literal["batchmean", "reference"] | None = Field(
        None, description="batchmean, or reference for the public code's numbers"
    )
    multiplier: float | None = Field(None, gt=0, description="of the reference convention")

    out: str | None = Field(None, description="run directory (default: a new one under ./runs)")
    resume: bool = Field(False, description="go on with what --out holds")
    checkpoint_every: str = Field("epoch", description="epoch, a number of steps, or seconds such as 30s")


class TrainConfig(TrainingConfig):
    """One network, one method."""

    task: Literal["classification", "detection"] = Field("classification", description=TASK)
    method: str = Field("dr_kd", description="see `drkd list methods`")
    teacher: str | None = Field(None, description="run directory or file of the teacher (default: trained first)")
    seed: int = Field(0, ge=0, description="fixes splits, initial weights, order and augmentation")
    label_noise: float = Field(0.0, ge=0, lt=1, description="part of the training and validation labels made wrong")
    devices: int = Field(1, ge=1, description="processes that share each batch on this machine, one per device")
    num_nodes: int = Field(1, ge=1, description="machines that run this same command; needs MASTER_ADDR")
    sync_batchnorm: bool = Field(False, description="batch norm over the whole batch of all devices; not on processors")
    keep_epochs: Epochs = Field([], description="comma-separated, from 0: keep the network as it is after these epochs")
    method_options: dict[str, Any] = Field({}, description="further settings of the method; in a file only")


class CompareConfig(TrainingConfig):
    """Several methods, several seeds, side by side."""

    task: Literal["classification", "detection"] = Field("classification", description=TASK)
    methods: Names = Field(STANDARD, description="comma-separated; see `drkd list methods`")
    method_options: dict[str, dict[str, Any]] = Field({}, description="settings by method; in a file only")
    teacher: str | None = Field(None, description="run directory or file of the teacher of kd")
    seeds: int = Field(5, ge=1, description="how many seeds, from 0 on")
    label_noise: Fractions = Field([0.0], description="comma-separated; a panel for each")
    jobs: int | None = Field(None, ge=1, description="trainings at once (default: one per processor, 1 on a GPU)")
    launcher: Literal["local", "ray"] = Field("local", description="local processes, or ray: the workers of a cluster")
    cache_size: Size = Field("1GB", description="most that the cache of teachers' answers may hold; 0: none")
    checkpoint_every: str = Field("30s", description="epoch, a number of steps, or seconds such as 30s")


class TuneConfig(TrainingConfig):
    """A search for the method and settings that do best on the validation split."""

    methods: Names = Field(
        ["label_smoothing", "tf_kd_reg", "tf_kd_self", "dr_kd", "ps_kd", "online_dr_kd"],
        description="comma-separated; the search chooses among them",
    )
    trials: int = Field(20, ge=1, description="how many settings are tried")
    hours: float | None = Field(None, gt=0, description="begin no trial after so long in one sitting")
    label_noise: float = Field(0.0, ge=0, lt=1, description="part of the training and validation labels made wrong")
    teacher: str | None = Field(None, description="run directory or file of the teacher of kd")
    cache_size: Size = Field("1GB", description="most that the cache of teachers' answers may hold; 0: none")


class ReproduceConfig(BaseModel):
    """A published row: what may stand in place of the recipe's settings, and how it is run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seeds: int = Field(3, ge=1, description="how many seeds, from 0 on")
    miniature: bool = Field(False, description="two steps on digits, to see that everything works")
    out: str = Field("runs/reproduce", description="where trainings are kept and found again")
    jobs: int | None = Field(None, ge=1, description="trainings at once (default: one per processor, 1 on a GPU)")

    data: str | None = Field(None, description="where the data is, or other data (default: the recipe's)")
    download: bool | None = Field(None, description="fetch a missing data set")
    image_size: int | None = Field(None, ge=4, description="other side length (default: the recipe's)")
    limit_train: int | None = Field(None, ge=1, description="keep this many training samples (default: all)")
    limit_test: int | None = Field(None, ge=1, description="keep this many test samples (default: all)")
    epochs: int | None = Field(None, ge=1, description="other number of epochs (default: the recipe's)")
    batch_size: int | None = Field(None, ge=1, description="other batch size (default: the recipe's)")
    device: str | None = Field(None, description="cpu, cuda, ... (default: an accelerator where there is one)")
    precision: Literal["float32", "bfloat16", "float16"] | None = Field(None, description="default: float32")
    threads: int | None = Field(None, ge=1, description="processor threads per training")
    checkpoint_every: str | None = Field(None, description="epoch, a number of steps, or seconds such as 30s")

    OF_TRAINING: ClassVar[tuple[str, ...]] = (
        *("data", "download", "image_size", "limit_train", "limit_test", "epochs", "batch_size"),
        *("device", "precision", "threads", "checkpoint_every"),
    )


class BenchConfig(BaseModel):
    """What to measure the cost of, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: str = Field("small_cnn", description="network by name, or timm:NAME")
    image_size: int = Field(32, ge=4, description="side length of the images, which are made up")
    classes: int = Field(10, ge=2, description="number of classes")
    batch_size: int = Field(128, ge=2, description="samples per optimizer step")
    methods: Names = Field(STANDARD, description="comma-separated; see `drkd list methods`")
    rounds: int = Field(10, ge=1, description="steps that are measured of each method, after two of warm-up")
    device: str = Field("auto", description="cpu, cuda, ...; auto takes an accelerator where there is one")
    precision: Literal["float32", "bfloat16", "float16"] = Field("float32", description="float32, bfloat16 or float16")
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field("auto", description="as for `drkd train`")
    compile: Literal["on", "off"] = Field("off", description="on measures compiled steps")
    threads: int | None = Field(None, ge=1, description="processor threads")
    out: str | None = Field(None, description="JSON file for the figures")


EMBEDDED: dict[str, Any] = {
    "model": "mlp",
    "limit_train": 300,
    "epochs": 60,
    "batch_size": 50,
    "schedule": "cosine",
    "label_noise": [0.0, 0.2],
}
"""Defaults for digits, the embedded data set; how they were chosen stands in docs/defaults.md."""

DETECTION: dict[str, Any] = {
    "model": "ssdlite320_mobilenet_v3",
    "batch_size": 16,
    "lr": 0.001,
    "optimizer": "adamw",
    "schedule": "cosine",
    "warmup_epochs": 1.0,
    "clip_norm": 10.0,
    "augment": "flip",
}
"""Defaults for detection: usual ones for detectors that start from random weights, not searched for."""

METHOD_SETTINGS = (
    *("alpha", "temperature", "epsilon", "correct_prob", "source", "decay", "rectify", "keep"),
    *("convention", "multiplier"),
)
"""Fields that belong to the method."""

WITHOUT_EFFECT = (
    *("out", "resume", "checkpoint_every", "jobs", "download", "cache", "launcher", "workers", "trials", "hours"),
)
"""Fields that do not change the result."""
