"""The configuration of each command: the command line, the YAML files and the documentation come from here."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from drkd.config.fields import Epochs, Fold, Fractions, Names, Size, Stages, Text
from drkd.config.groups import (
    CacheOptions,
    DataOptions,
    FitOptions,
    FitSettings,
    LauncherOptions,
    LossOptions,
    MethodSettings,
    NetworkOptions,
    Options,
    ProcessOptions,
)

STANDARD = ["cross_entropy", "label_smoothing", "tf_kd_reg", "tf_kd_self", "dr_kd", "ps_kd", "online_dr_kd"]
"""What `compare` and `bench` take where no method is named."""

TASK = (
    "classification; detection: images with boxes; segmentation: images with masks; or multilabel: several "
    "classes true of an image"
)

TaskName = Literal["classification", "detection", "segmentation", "multilabel"]


class TrainingConfig(
    MethodSettings, CacheOptions, ProcessOptions, LossOptions, FitOptions, NetworkOptions, DataOptions
):
    """What `train`, `compare` and `tune` have in common."""


class TrainConfig(TrainingConfig, FitSettings):
    """One network, one method."""

    task: TaskName = Field("classification", description=TASK)
    method: str = Field("dr_kd", description="see `drkd list methods`")
    teacher: Text | None = Field(None, description="run directory or file of the teacher (default: trained first)")
    label_noise: float = Field(0.0, ge=0, lt=1, description="fraction of the training and validation labels made wrong")
    devices: int = Field(1, ge=1, description="processes that share each batch on this machine, one per device")
    num_nodes: int = Field(1, ge=1, description="machines that run this same command; needs MASTER_ADDR")
    sync_batchnorm: bool = Field(False, description="batch norm over the whole batch of all devices; not on processors")
    keep_epochs: Epochs = Field([], description="comma-separated, from 0: keep the network as it is after these epochs")
    fold: Fold | None = Field(
        None,
        description="train on training and validation images but for a part of them, which is validated on: 2/5 is the "
        "second of five, 0/5 none; as `drkd suspects` does",
    )
    keep_answers: bool = Field(
        False, description="keep what the student says of each training image, on average over epochs"
    )
    method_options: dict[str, Any] = Field({}, description="further settings of the method; in a file only")


class CompareConfig(LauncherOptions, TrainingConfig):
    """Several methods, several seeds, side by side."""

    task: TaskName = Field("classification", description=TASK)
    methods: Names = Field(STANDARD, description="comma-separated; see `drkd list methods`")
    method_options: dict[str, dict[str, Any]] = Field({}, description="settings by method; in a file only")
    teacher: Text | None = Field(
        None, description="run directory or file of the teacher of all methods that take one (default: the baseline)"
    )
    seeds: int = Field(5, ge=1, description="how many seeds, from 0 on")
    label_noise: Fractions = Field([0.0], description="comma-separated; a panel for each")
    cache_size: Size = Field("1GB", description="most that teachers' answers and frozen features may hold; 0: none")
    checkpoint_every: Text = Field("30s", description="epoch, a number of steps, or seconds such as 30s")


class TuneConfig(LauncherOptions, TrainingConfig):
    """A search for the settings, the method and the network that do best on the validation split."""

    methods: Names = Field(
        ["label_smoothing", "tf_kd_reg", "tf_kd_self", "dr_kd", "ps_kd", "online_dr_kd"],
        description="comma-separated; the search chooses among them",
    )
    search: Stages | None = Field(
        None,
        description="comma-separated, of lr, average, augment and method, in this order, each with the best so far "
        "(default: all that are not given; with --networks lr and method)",
    )
    networks: Names | None = Field(
        None, description="comma-separated, as --model takes them: the search chooses among them within the budget"
    )
    max_ms: float | None = Field(None, gt=0, description="most milliseconds an image of an exported network")
    max_mb: float | None = Field(None, gt=0, description="most megabytes of an exported network")
    latency_threads: int = Field(1, ge=1, description="processor threads for measuring --max-ms")
    trials: int = Field(20, ge=1, description="how many settings are tried after the learning rates, of all networks")
    round: int = Field(
        4, ge=1, description="trials of methods that are proposed together: no more than these run at once"
    )
    hours: float | None = Field(None, gt=0, description="begin no trial after so many hours in one session")
    label_noise: float = Field(0.0, ge=0, lt=1, description="fraction of the training and validation labels made wrong")
    teacher: Text | None = Field(
        None, description="run directory or file of the teacher of all methods that take one (default: the baseline)"
    )
    cache_size: Size = Field("1GB", description="most that teachers' answers and frozen features may hold; 0: none")


class ReproduceConfig(Options):
    """A published row: what may replace the recipe's settings, and how it is run."""

    seeds: int = Field(3, ge=1, description="how many seeds, from 0 on")
    miniature: bool = Field(False, description="two steps on digits, to see that everything works")
    out: Text = Field("runs/reproduce", description="where trainings are kept and found again")
    jobs: int | None = Field(None, ge=1, description="trainings at once (default: one per processor, 1 on a GPU)")

    data: Text | None = Field(None, description="where the data is, or other data (default: the recipe's)")
    download: bool | None = Field(None, description="fetch a missing data set")
    image_size: int | None = Field(None, ge=4, description="other side length (default: the recipe's)")
    limit_train: int | None = Field(None, ge=1, description="keep this many training samples (default: all)")
    limit_test: int | None = Field(None, ge=1, description="keep this many test samples (default: all)")
    epochs: int | None = Field(None, ge=1, description="other number of epochs (default: the recipe's)")
    batch_size: int | None = Field(None, ge=1, description="other batch size (default: the recipe's)")
    device: str | None = Field(None, description="cpu, cuda, ... (default: an accelerator where there is one)")
    precision: Literal["float32", "bfloat16", "float16"] | None = Field(None, description="default: float32")
    threads: int | None = Field(None, ge=1, description="processor threads per training")
    checkpoint_every: Text | None = Field(None, description="epoch, a number of steps, or seconds such as 30s")

    OF_TRAINING: ClassVar[tuple[str, ...]] = (
        *("data", "download", "image_size", "limit_train", "limit_test", "epochs", "batch_size"),
        *("device", "precision", "threads", "checkpoint_every"),
    )


class BenchConfig(Options):
    """What to measure the cost of, and how."""

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
    out: Text | None = Field(None, description="JSON file for the figures")


class BoxConfig(Options):
    """Which of the boxes that a detector finds are given, and where they are drawn."""

    threshold: float | None = Field(
        None, ge=0, le=1, description="smallest score of a box (default: 0.25, and 0 with --format coco)"
    )
    nms: float | None = Field(
        None, ge=0, le=1, description="IoU above which the less certain of two boxes of a class is left out"
    )
    draw: Text | None = Field(None, description="folder for the images with their boxes")


class ExportConfig(Options):
    """How a run's network becomes a file for a device, and what it may differ by."""

    format: str = Field("onnx", description="onnx, openvino, torch or executorch")
    quantize: str | None = Field(None, description="int8 (default: float, as trained)")
    out: Text | None = Field(None, description="file (default: in RUN/exports)")
    data: Text | None = Field(None, description="data to check and calibrate on (default: the run's)")
    split: str | None = Field(None, description="split to check on: val or test (default: val)")
    samples: int = Field(1000, ge=1, description="images of it")
    calibration: str = Field("minmax", description="how int8 chooses its ranges: minmax or percentile")
    calibration_samples: int = Field(256, ge=1, description="training images on which int8 measures them")
    max_difference: float | None = Field(
        None,
        ge=0,
        description="largest difference of a logit, over the largest logit, or of a box's score (default: float 1e-3, "
        "of boxes 0.01; int8 any)",
    )
    min_agreement: float | None = Field(
        None,
        ge=0,
        le=1,
        description="least fraction of images with the same class, or of boxes that are the same (default: float "
        "0.999, of boxes 0.99; int8 0.9, of boxes 0.7)",
    )
    max_drop: float | None = Field(
        None,
        ge=0,
        le=1,
        description="largest loss of accuracy or mAP, a fraction (default: float 0.001, of mAP 0.005; int8 0.02)",
    )


EMBEDDED: dict[str, Any] = {
    "model": "mlp",
    "limit_train": 300,
    "epochs": 60,
    "batch_size": 50,
    "schedule": "cosine",
    "label_noise": [0.0, 0.2],
}
"""Defaults for digits, the embedded data set; how they were chosen is in docs/defaults.md."""

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

SEGMENTATION: dict[str, Any] = {
    "model": "lraspp_mobilenet_v3_large",
    "batch_size": 16,
    "lr": 0.001,
    "optimizer": "adamw",
    "schedule": "cosine",
    "warmup_epochs": 1.0,
    "augment": "scale_crop+flip",
    "methods": ["cross_entropy", "label_smoothing", "tf_kd_reg", "tf_kd_self", "dr_kd"],
}
"""Defaults for segmentation: usual ones for networks that start from random weights, not searched for. Methods that
remember pixels are not among those compared: `scale_crop` moves them."""
TRAINED_DETECTION: dict[str, Any] = {"weight_decay": 0.05, "no_norm_decay": True}
"""What is otherwise for detectors that start from trained weights: what classifiers do."""

WITHOUT_EFFECT = (
    *("out", "resume", "checkpoint_every", "jobs", "download", "cache", "launcher", "workers", "trials", "hours"),
    *("slurm_options", "log"),
)
"""Fields that do not change the result."""
