"""What a run can be told, in one place: the command line, the YAML files and the documentation all come from here.

Each field is an option of the same name (`--batch-size` for `batch_size`) and a key of the same name in a file.
"""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from drkd.errors import InputError


def _split(value: Any) -> Any:
    """`a,b,c` as a list."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, int | float) else value


def _once(values: list[Any]) -> list[Any]:
    """Each value the first time it stands there."""
    return list(dict.fromkeys(values))


Names = Annotated[list[str], BeforeValidator(_split), AfterValidator(_once), Field(min_length=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
STANDARD = ["cross_entropy", "label_smoothing", "tf_kd_reg", "tf_kd_self", "dr_kd", "ps_kd", "online_dr_kd"]
Epochs = Annotated[list[Annotated[int, Field(ge=0)]], BeforeValidator(_split), AfterValidator(_once)]
Fractions = Annotated[list[Fraction], BeforeValidator(_split), AfterValidator(_once), Field(min_length=1)]


def as_bytes(size: str) -> int:
    """A size in words as a number of bytes.

    Example:
        >>> as_bytes("1.5GB"), as_bytes("20 MB"), as_bytes("0")
        (1500000000, 20000000, 0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", size.strip().upper())
    if match is None:
        raise ValueError("a size such as 500MB or 2GB, or 0")
    return int(float(match[1]) * 1000.0 ** " KMGT".index(match[2] or " "))


def _size(value: Any) -> str:
    as_bytes(str(value))
    return str(value)


Size = Annotated[str, BeforeValidator(_size)]


class TrainingConfig(BaseModel):
    """What `train` and `compare` have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    data: str = Field("digits", description="data set by name, or a folder")
    model: str = Field("small_cnn", description="network by name, or timm:NAME")
    weights: str | None = Field(None, description="file of weights to start from (default: random)")
    image_size: int | None = Field(None, ge=4, description="scale and crop pictures to this side length")
    augment: str | None = Field(
        None, description="none, shift, crop_flip, cifar, tiny_imagenet or imagenet (default: the data's)"
    )
    validation: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="part of the training split held out to choose the epoch; 0: the last epoch is taken",
    )
    limit_train: int | None = Field(None, ge=1, description="keep this many training samples, stratified")
    limit_test: int | None = Field(None, ge=1, description="keep this many test samples, stratified")
    download: bool = Field(False, description="fetch a missing data set")
    skip_bad_images: bool = Field(False, description="leave out pictures that cannot be read, and count them")

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
    cache_size: Size = Field("0", description="most that the cache of teachers' answers may hold, such as 2GB; 0: none")
    cache: str | None = Field(None, description="its folder (default: teacher-cache, beside the run)")

    alpha: float | None = Field(None, ge=0, le=1, description="weight of the soft target (default: the method's)")
    temperature: float | None = Field(None, gt=0, description="softening (default: the method's)")
    epsilon: float | None = Field(None, ge=0, le=1, description="of label_smoothing")
    correct_prob: float | None = Field(None, gt=0, lt=1, description="of tf_kd_reg's virtual teacher")
    source: Literal["memory", "ema"] | None = Field(None, description="of online_dr_kd: memory or ema")
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

    methods: Names = Field(STANDARD, description="comma-separated; see `drkd list methods`")
    method_options: dict[str, dict[str, Any]] = Field({}, description="settings by method; in a file only")
    teacher: str | None = Field(None, description="run directory or file of the teacher of kd")
    seeds: int = Field(5, ge=1, description="how many seeds, from 0 on")
    label_noise: Fractions = Field([0.0], description="comma-separated; a panel for each")
    together: Literal["auto", "on", "off"] = Field(
        "auto", description="on or off: train a method's seeds in one loop; auto does so where it is faster"
    )
    jobs: int | None = Field(None, ge=1, description="trainings at once (default: one per processor, 1 on a GPU)")
    cache_size: Size = Field("1GB", description="most that the cache of teachers' answers may hold; 0: none")
    checkpoint_every: str = Field("30s", description="epoch, a number of steps, or seconds such as 30s")


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
    image_size: int = Field(32, ge=4, description="side length of the pictures, which are made up")
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


Config = TypeVar("Config", bound=BaseModel)

EMBEDDED: dict[str, Any] = {
    "model": "mlp",
    "limit_train": 300,
    "epochs": 60,
    "batch_size": 50,
    "schedule": "cosine",
    "label_noise": [0.0, 0.2],
}
"""Defaults for digits, the embedded data set; how they were chosen stands in docs/defaults.md."""

METHOD_SETTINGS = (
    *("alpha", "temperature", "epsilon", "correct_prob", "source", "rectify", "keep", "convention", "multiplier"),
)
"""Fields that belong to the method."""

WITHOUT_EFFECT = ("out", "resume", "checkpoint_every", "jobs", "download", "cache")
"""Fields that do not change the result."""


def resolve(
    kind: type[Config], given: Mapping[str, Any], file: str | Path | None = None
) -> tuple[Config, dict[str, str]]:
    """Lay the command line over a file over the defaults.

    Args:
        kind: `TrainConfig`, `CompareConfig`, `ReproduceConfig` or `BenchConfig`.
        given: options of the command line; None means not given.
        file: a YAML file of options.

    Returns:
        The configuration, and where each value came from: `default`, `default for digits`, `file` or `command line`.

    Raises:
        InputError: for unknown or unfitting options; one line for the first of them.

    Example:
        >>> config, source = resolve(TrainConfig, {"data": "cifar10", "epochs": 3})
        >>> config.epochs, source["epochs"], source["lr"]
        (3, 'command line', 'default')
    """
    in_file = read_options(Path(file)) if file is not None else {}
    on_line = {name: value for name, value in given.items() if value is not None}
    values = {**in_file, **on_line}
    on_digits = issubclass(kind, TrainingConfig) and values.get("data", "digits") == "digits"
    embedded = _embedded(kind) if on_digits else {}
    values = {**embedded, **values}
    for name in values:
        if name not in kind.model_fields:
            close = difflib.get_close_matches(name, kind.model_fields, n=1)
            where = "" if name in on_line else f"{file}: "
            raise InputError(f"{where}unknown option {name!r}{f'; did you mean {close[0]}?' if close else ''}")
    try:
        config = kind(**values)
    except ValidationError as reason:
        problem = reason.errors()[0]
        name = "-".join(str(part) for part in problem["loc"][:1]).replace("_", "-")
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Value ").removeprefix("Input ")
        message = message.split(" after validation")[0]
        wanted = message if message.startswith("should ") else f"should be {message}"
        where = "" if problem["loc"][0] in on_line else f"{file}: "
        raise InputError(f"{where}--{name} {wanted}, got {problem['input']!r}") from None
    layers = {"command line": on_line, "file": in_file, "default for digits": embedded}
    source = {
        name: next((where for where, layer in layers.items() if name in layer), "default") for name in kind.model_fields
    }
    return config, source


def as_yaml(config: BaseModel, source: Mapping[str, str]) -> str:
    """A configuration as YAML that `--config` reads back, with the source of each value beside it."""
    lines = []
    for name, value in config.model_dump().items():
        text = yaml.safe_dump({name: value}, default_flow_style=True, sort_keys=False, width=10**6).strip()
        lines.append(f"{text[1:-1]}  # {source[name]}")
    return "\n".join(lines) + "\n"


def differences(old: Mapping[str, Any], new: BaseModel) -> list[str]:
    """Options that change the result and differ between a run's `config.yaml` and `new`."""

    def effect(name: str, value: Any) -> Any:
        """A cache rounds what a teacher says, whatever its size."""
        return as_bytes(str(value)) > 0 if name == "cache_size" else value

    return [
        name
        for name, value in new.model_dump().items()
        if name not in WITHOUT_EFFECT and effect(name, old.get(name, value)) != effect(name, value)
    ]


def _embedded(kind: type[BaseModel]) -> dict[str, Any]:
    return {
        name: value
        for name, value in EMBEDDED.items()
        if name in kind.model_fields and (name != "label_noise" or kind is CompareConfig)
    }


def read_options(path: Path) -> dict[str, Any]:
    """What a YAML file of options holds, by field name.

    Raises:
        InputError: if it cannot be read, or is something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as reason:
        raise InputError(f"cannot read the configuration {path}: {reason.strerror}") from reason
    except (yaml.YAMLError, UnicodeDecodeError) as reason:
        raise InputError(f"{path} is not YAML: {' '.join(str(reason).split())}") from reason
    if content is not None and not isinstance(content, dict):
        raise InputError(f"{path} needs a line `option: value` for each option, got {type(content).__name__}")
    return {str(name).replace("-", "_"): value for name, value in (content or {}).items()}
