"""The configuration of each command: the command line, the YAML files and the documentation come from here."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field

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
    TeacherOptions,
)

STANDARD = ["cross_entropy", "label_smoothing", "tf_kd_reg", "tf_kd_self", "dr_kd", "ps_kd", "online_dr_kd"]
"""What `compare` and `bench` take where no method is named."""

TASK = (
    "classification; detection: images with boxes; segmentation: images with masks; or multilabel: several "
    "classes true of an image"
)

TEACHER_FOLDS: Any = Field(
    None,
    ge=2,
    le=100,
    description="for self-taught methods: divide the training images into this many folds; each is taught by a network "
    "trained on the others; 2 costs about as much as one self-teacher (default: one, trained on all)",
)

TaskName = Literal["classification", "detection", "segmentation", "multilabel"]


class TrainingConfig(
    MethodSettings, TeacherOptions, CacheOptions, ProcessOptions, LossOptions, FitOptions, NetworkOptions, DataOptions
):
    """What `train`, `compare` and `tune` have in common."""


class TrainConfig(TrainingConfig, FitSettings):
    """One network, one method."""

    task: TaskName = Field("classification", description=TASK)
    method: str = Field("dr_kd", description="see `drkd list methods`")
    teacher: Text | None = Field(None, description="run directory or file of the teacher (default: train one first)")
    teacher_folds: int | None = TEACHER_FOLDS
    label_noise: float = Field(0.0, ge=0, lt=1, description="fraction of training and validation labels to make wrong")
    devices: int = Field(1, ge=1, description="devices on this machine; one process each, sharing every batch")
    num_nodes: int = Field(1, ge=1, description="machines that run this same command; needs MASTER_ADDR")
    sync_batchnorm: bool = Field(False, description="batch norm over the whole batch of all devices; accelerators only")
    keep_epochs: Epochs = Field([], description="also keep the network after these epochs, comma-separated, from 0")
    fold: Fold | None = Field(
        None,
        description="validate on one fold of the training and validation images and train on the rest: 2/5 is the "
        "second of five, 0/5 trains on all, 2/5:train divides the training images alone; `drkd suspects` uses this",
    )
    keep_answers: bool = Field(
        False, description="save the student's mean prediction for each training image over the epochs"
    )
    method_options: dict[str, Any] = Field({}, description="more settings of the method; only in a file")


class CompareConfig(LauncherOptions, TrainingConfig):
    """Several methods, several seeds, side by side."""

    task: TaskName = Field("classification", description=TASK)
    methods: Names = Field(STANDARD, description="comma-separated; see `drkd list methods`")
    method_options: dict[str, dict[str, Any]] = Field({}, description="settings by method; only in a file")
    teacher: Text | None = Field(
        None, description="run directory or file of the teacher for all methods that need one (default: the baseline)"
    )
    teacher_folds: int | None = TEACHER_FOLDS
    seeds: int = Field(5, ge=1, description="number of seeds, from 0 on")
    label_noise: Fractions = Field([0.0], description="comma-separated; one panel each")
    cache_size: Size = Field("1GB", description="size limit of cached teacher outputs and frozen features; 0: no cache")
    checkpoint_every: Text = Field("30s", description="epoch, a number of steps, or seconds such as 30s")


class TuneConfig(LauncherOptions, TrainingConfig):
    """A search for the settings, the method and the network that do best on the validation split."""

    task: TaskName = Field("classification", description=TASK)
    methods: Names = Field(
        ["label_smoothing", "tf_kd_reg", "tf_kd_self", "dr_kd", "ps_kd", "online_dr_kd"],
        description="comma-separated; the search chooses among them",
    )
    search: Stages | None = Field(
        None,
        description="comma-separated stages, each with the best so far: lr, average, augment, method, in this order "
        "(default: all whose option is not set; with --networks: lr and method)",
    )
    networks: Names | None = Field(
        None, description="comma-separated, as for --model: the search chooses among them within the budget"
    )
    max_ms: float | None = Field(None, gt=0, description="time limit of an exported network, in milliseconds per image")
    max_mb: float | None = Field(None, gt=0, description="size limit of an exported network, in megabytes")
    latency_threads: int = Field(1, ge=1, description="processor threads for measuring --max-ms")
    trials: int = Field(20, ge=1, description="number of trials after the learning rates, over all networks")
    round: int = Field(4, ge=1, description="method trials proposed together, and the most that run at once")
    hours: float | None = Field(None, gt=0, description="start no new trial after this many hours in a session")
    label_noise: float = Field(0.0, ge=0, lt=1, description="fraction of training and validation labels to make wrong")
    teacher: Text | None = Field(
        None, description="run directory or file of the teacher for all methods that need one (default: the baseline)"
    )
    cache_size: Size = Field("1GB", description="size limit of cached teacher outputs and frozen features; 0: no cache")


class ReproduceConfig(Options):
    """A published row: what may replace the recipe's settings, and how it is run."""

    seeds: int = Field(3, ge=1, description="number of seeds, from 0 on")
    miniature: bool = Field(False, description="two steps on embedded images, to check that everything works")
    out: Text = Field("runs/reproduce", description="folder for the trainings, which later calls reuse")
    jobs: int | None = Field(None, ge=1, description="trainings at once (default: one per processor, 1 on a GPU)")

    data: Text | None = Field(None, description="path of the data, or other data (default: the recipe's)")
    download: bool | None = Field(None, description="download a missing data set")
    image_size: int | None = Field(None, ge=4, description="side length (default: the recipe's)")
    limit_train: int | None = Field(None, ge=1, description="keep this many training samples (default: all)")
    limit_test: int | None = Field(None, ge=1, description="keep this many test samples (default: all)")
    epochs: int | None = Field(None, ge=1, description="number of epochs (default: the recipe's)")
    batch_size: int | None = Field(None, ge=1, description="batch size (default: the recipe's)")
    device: str | None = Field(None, description="cpu, cuda, ... (default: an accelerator if there is one)")
    precision: Literal["float32", "bfloat16", "float16"] | None = Field(None, description="default: float32")
    threads: int | None = Field(None, ge=1, description="processor threads per training")
    checkpoint_every: Text | None = Field(None, description="epoch, a number of steps, or seconds such as 30s")

    OF_TRAINING: ClassVar[tuple[str, ...]] = (
        *("data", "download", "image_size", "limit_train", "limit_test", "epochs", "batch_size"),
        *("device", "precision", "threads", "checkpoint_every"),
    )


class BenchConfig(Options):
    """What to measure the cost of, and how."""

    task: TaskName = Field("classification", description=TASK)
    model: str = Field("small_cnn", description="network by name, or timm:NAME")
    image_size: int = Field(32, ge=4, description="side length of the random images")
    classes: int = Field(10, ge=2, description="number of classes")
    batch_size: int = Field(128, ge=2, description="samples per optimizer step")
    methods: Names = Field(STANDARD, description="comma-separated; see `drkd list methods`")
    rounds: int = Field(10, ge=1, description="steps to measure per method, after two of warm-up")
    device: str = Field("auto", description="cpu, cuda, ...; auto uses an accelerator if there is one")
    precision: Literal["float32", "bfloat16", "float16"] = Field("float32", description="float32, bfloat16 or float16")
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field("auto", description="as for `drkd train`")
    compile: Literal["on", "off"] = Field("off", description="on: measure compiled steps")
    threads: int | None = Field(None, ge=1, description="processor threads")
    out: Text | None = Field(None, description="JSON file for the figures")


class BoxConfig(Options):
    """Which of the boxes that a detector finds are given, and where they, or masks, are drawn and written."""

    threshold: float | None = Field(
        None, ge=0, le=1, description="smallest score of a box (default: 0.25, and 0 with --format coco)"
    )
    nms: float | None = Field(
        None, ge=0, le=1, description="IoU above which the less certain of two boxes of one class is dropped"
    )
    draw: Text | None = Field(None, description="folder for the images with boxes or coloured classes drawn in")
    masks: Text | None = Field(None, description="for segmenters: folder for the masks, a PNG per image")


class ExportConfig(Options):
    """How a run's network becomes a file for a device, and what it may differ by."""

    format: str = Field("onnx", description="onnx, openvino, torch or executorch")
    quantize: str | None = Field(None, description="int8 (default: float, as trained)")
    out: Text | None = Field(None, description="file (default: in RUN/exports)")
    data: Text | None = Field(None, description="data to check and calibrate on (default: the run's)")
    split: str | None = Field(None, description="split to check on: val or test (default: val)")
    samples: int = Field(1000, ge=1, description="number of images to check on")
    calibration: str = Field("minmax", description="how int8 chooses its ranges: minmax or percentile")
    calibration_samples: int = Field(256, ge=1, description="number of training images for calibration")
    max_difference: float | None = Field(
        None,
        ge=0,
        description="largest allowed difference: of a logit, over the largest logit; of a box's score; or fraction of "
        "an image's pixels with another class (default: float 1e-3, boxes and pixels 0.01; int8 any)",
    )
    min_agreement: float | None = Field(
        None,
        ge=0,
        le=1,
        description="smallest allowed fraction of images or pixels with the same class, or of identical boxes "
        "(default: float 0.999, boxes 0.99; int8 0.9, boxes 0.7)",
    )
    max_drop: float | None = Field(
        None,
        ge=0,
        le=1,
        description="largest allowed loss of accuracy, mAP or mIoU, a fraction (default: float 0.001, mAP 0.005; int8 "
        "0.02)",
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

TRAINED_DETECTION: dict[str, Any] = {"lr": 0.003, "weight_decay": 0.05, "no_norm_decay": True}
"""What is otherwise for detectors that start from trained weights; how it was chosen is in docs/defaults.md."""

BENCHED: dict[str, dict[str, Any]] = {"detection": {"image_size": 320}, "segmentation": {"image_size": 256}}
"""Defaults of `bench` by task, beside those of trainings."""

TUNED: dict[str, Any] = {"methods": ["label_smoothing", "tf_kd_reg", "tf_kd_self", "dr_kd"]}
"""Defaults of a search for detectors or segmenters: augmentation that moves pixels goes with these methods."""

MORE_AUGMENT: dict[str, tuple[dict[str, str | float], ...]] = {
    "classification": (
        {"augment": "+trivial"},
        {"cutmix": 1.0},
        {"augment": "+erasing:0.25"},
        {"augment": "+randaugment"},
        {"mixup": 0.2},
        {"augment": "+jitter:0.2"},
    ),
    "multilabel": ({"augment": "+trivial"}, {"augment": "+erasing:0.25"}, {"augment": "+jitter:0.2"}),
    "detection": ({"augment": "+crop"}, {"augment": "ssd"}, {"augment": "+jitter"}),
    "segmentation": ({"augment": "+jitter:0.2"}, {"augment": "flip"}, {"augment": "scale_crop:0.75,1.33+flip"}),
}
"""What a search tries of each task; a leading + adds to the usual augmentation."""

WITHOUT_EFFECT = (
    *("out", "resume", "checkpoint_every", "jobs", "download", "cache", "launcher", "workers", "trials", "hours"),
    *("slurm_options", "log"),
)
"""Fields that do not change the result."""


CONFIGS: dict[str, type[BaseModel]] = {
    "train": TrainConfig,
    "compare": CompareConfig,
    "tune": TuneConfig,
    "reproduce": ReproduceConfig,
    "bench": BenchConfig,
}
"""Commands that take --config."""
