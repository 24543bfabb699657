"""Networks that name whole images."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from drkd.tasks.answers import name_images
from drkd.tasks.kinds import Described, SplitMetrics, TaskData
from drkd.tasks.tables import lines_by_class
from drkd.tasks.task import Metric, Task
from drkd.utils.objects import PREFIX

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from drkd.config import BenchConfig, TrainConfig
    from drkd.data import Data
    from drkd.data.checking import Findings
    from drkd.data.datasets import Split
    from drkd.data.preprocessing import Preprocessing
    from drkd.data.record import FileRecord
    from drkd.models.files import ModelInfo
    from drkd.objective.objective import Objective
    from drkd.tasks.answers import Asked, ReadImage, Row
    from drkd.training.metrics import Metrics

ANSWERS = 2
"""Which answers a cache holds: another number where the same teacher is asked in another way. 1 folded batch norms that
must stay."""

CHEAP = 10**6
"""A teacher of fewer multiply-adds per image is asked every time: looking its answers up would take longer."""


class Classification(Task):
    """See `Task`."""

    name = "classification"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("accuracy", "Accuracy %", "accuracy"),
        Metric("nll", "NLL", "NLL", 1, 3),
        Metric("ece", "ECE %", "ECE", 100, 1),
        Metric("aurc", "AURC e-3", "AURC", 1000, 1),
        Metric("balanced_accuracy", "Balanced %", "balanced accuracy"),
        Metric("macro_f1", "Macro F1 %", "macro F1"),
    )
    validation_metrics: ClassVar[tuple[str, ...]] = ("accuracy", "nll")
    details: ClassVar[tuple[str, ...]] = ("reliability", "per_class", "confused")
    class_metric = Metric("recall", "Recall %", "recall", digits=1)
    teacher_metric = "accuracy"
    better, worse = "is more accurate than", "is less accurate than"
    legend = (
        "Accuracy: mean and standard deviation over seeds, test split. Balanced: mean recall over classes; Macro F1: "
        "mean F1 over classes; in both a rare class counts like any other."
    )

    def load(self, config: "TrainConfig", wanted: "Preprocessing | None" = None) -> "Data":
        from drkd.config.fields import as_fold
        from drkd.data import load_data
        from drkd.data.datasets import Division
        from drkd.data.folds import leave_out
        from drkd.data.given import divide_given, find_given

        if config.data.startswith(PREFIX):
            numbers = (config.validation, config.limit_train, config.limit_test, config.label_noise)
            how = Division(config.seed, *numbers)
            data = divide_given(find_given(config.data), wanted or config.image_size, how, config.augment)
        else:
            data = load_data(
                config.data,
                seed=config.seed,
                validation=config.validation,
                limit_train=config.limit_train,
                limit_test=config.limit_test,
                label_noise=config.label_noise,
                image_size=wanted or config.image_size,
                augment=config.augment,
                download=config.download,
                skip_bad_images=config.skip_bad_images,
            )
        return data if config.fold is None else leave_out(data, *as_fold(config.fold))

    def wanted(self, config: "TrainConfig") -> "Preprocessing | None":
        from drkd.models.starts import describe_preprocessing, find_start

        start = find_start(config.model, weights=config.weights, pretrained=config.pretrained, download=config.download)
        if start is None or start.preprocessing is None:
            return None
        wanted = replace(start.preprocessing, image_size=config.image_size or start.preprocessing.image_size)
        warnings.warn(describe_preprocessing(start, wanted), stacklevel=2)
        return wanted

    def made_up(self, config: "BenchConfig", samples: int) -> "Data":
        from drkd.data.noise import random_classes

        return random_classes(config, samples)

    def list_files(self, name: str) -> "Mapping[str, FileRecord]":
        from drkd.data.layouts import list_files

        return {} if name.startswith(PREFIX) else list_files(name)

    def check(self, name: str, progress: Callable[[int, int], None] | None = None) -> "Findings":
        from drkd.data.checking import check_data

        return check_data(name, progress=progress)

    def build(
        self, info: "ModelInfo", weights: str | None = None, *, pretrained: bool = False, download: bool = False
    ) -> "nn.Module":
        from drkd.models import create_model

        return create_model(
            info.model,
            num_classes=len(info.classes),
            image_size=info.image_size,
            channels=info.channels,
            weights=weights,
            pretrained=pretrained,
            download=download,
        )

    def objective(
        self, config: "TrainConfig", data: TaskData, *, teacher: "nn.Module | None", student: "nn.Module", out: Path
    ) -> "Objective":
        from drkd.methods.registry import create_from

        if teacher is not None:
            teacher = with_cache(teacher, config, cast("Data", data), out)
        return create_from(config, teacher=teacher, student=student)

    def adapt_teacher(self, teacher: "nn.Module", own: "ModelInfo", student: "ModelInfo", source: str) -> "nn.Module":
        from drkd.models.adapted import Adapted, differences, scaling_differences

        if scaled := scaling_differences(own, student):
            warnings.warn(
                f"the teacher in {source} was trained on images scaled differently from the student's "
                f"({', '.join(scaled)}): it gets the student's",
                stacklevel=2,
            )
        if not (found := differences(own, student)):
            return teacher
        warnings.warn(
            f"the teacher in {source} expects different images from the student's ({', '.join(found)}): it resizes "
            "and normalises them itself",
            stacklevel=2,
        )
        return Adapted(teacher, own, student).eval()

    def check_settings(self, config: "TrainConfig", objective: "Objective") -> None:
        from drkd.data.augment_names import parse_augmentation
        from drkd.training.classifier import check_balance, check_mixing

        if config.augment is not None:
            parse_augmentation(config.augment)
        check_balance(config, objective)
        check_mixing(config, objective)

    def evaluate(
        self, network: "nn.Module", data: TaskData, split: str, *, temperature: float | None = None
    ) -> SplitMetrics:
        from drkd.training.metrics import evaluate

        return evaluate(network, cast("Data", data), split, temperature=temperature)

    def calibrate(self, network: "nn.Module", data: TaskData) -> float | None:
        from drkd.training.metrics import calibrate

        return calibrate(network, cast("Data", data))

    def draw(self, network: "nn.Module", data: TaskData, split: str, measured: SplitMetrics, out: Path) -> None:
        from drkd.tasks.gallery import write_gallery

        write_gallery(cast("Metrics", measured).mistakes, getattr(data, split), out)

    def metrics_from_json(self, content: Mapping[str, Any]) -> SplitMetrics:
        from drkd.training.metrics import Metrics

        return Metrics(**content)

    def deploy(self, network: "nn.Module", info: "ModelInfo") -> "nn.Module":
        from drkd.models.deployed import Deployed

        return Deployed(network, info.mean, info.std).eval().requires_grad_(False)

    def answer(
        self, outputs: "Sequence[NDArray[Any]]", images: "Sequence[ReadImage]", info: Described, asked: "Asked"
    ) -> "Iterator[Row]":
        return name_images(self, outputs[0], images, info, asked)

    def pixels(self, split: "Split", positions: "Tensor") -> "NDArray[np.uint8]":
        found: NDArray[np.uint8] = split.inputs[positions].numpy()
        return found

    def truth(self, split: "Split", positions: "Tensor") -> "NDArray[np.int64]":
        labels: NDArray[np.int64] = split.labels[positions].numpy()
        return labels

    def probabilities(self, logits: "Tensor", temperature: float = 1.0) -> "Tensor":
        return (logits / temperature).softmax(dim=1)

    def name_classes(self, probabilities: "Tensor", classes: Sequence[str]) -> list[list[tuple[str, float]]]:
        highest, labels = probabilities.max(dim=1)
        return [[(classes[k], p)] for k, p in zip(labels.tolist(), highest.tolist(), strict=True)]

    def describe_metrics(self, measured: SplitMetrics) -> str:
        values = asdict(measured)
        return (
            f"accuracy {100 * values['accuracy']:.2f}%, NLL {values['nll']:.4f}, ECE {100 * values['ece']:.2f}%, "
            f"AURC {1000 * values['aurc']:.2f}e-3{_describe_macro(values)}{describe_calibrated(values)}"
        )

    def describe_classes(self, measured: SplitMetrics) -> list[str]:
        columns = {"precision": "precision %", "recall": "recall %", "f1": "F1 %"}
        return lines_by_class(asdict(measured)["per_class"], "samples", columns)


def _describe_macro(values: Mapping[str, Any]) -> str:
    """The means over classes; nothing of what an older version measured."""
    if values["balanced_accuracy"] is None:
        return ""
    return f", balanced accuracy {100 * values['balanced_accuracy']:.2f}%, macro F1 {100 * values['macro_f1']:.2f}%"


def describe_calibrated(values: Mapping[str, Any]) -> str:
    """The metrics of calibrated probabilities; nothing without a temperature."""
    if values["temperature"] is None:
        return ""
    return (
        f"; probabilities at temperature {values['temperature']:.3g}: NLL {values['calibrated_nll']:.4f}, ECE "
        f"{100 * values['calibrated_ece']:.2f}%"
    )


def with_cache(teacher: "nn.Module", config: "TrainConfig", data: "Data", out: Path) -> "nn.Module":
    """`teacher`, or where `config` asks for it a target that keeps the teacher's answers.

    They are kept beside the run directory `out`, unless `config` names another folder. Several processes under
    `torchrun` ask the teacher: none of them sees a whole epoch, and no epoch of balanced sampling is one.
    """
    from drkd._version import __version__
    from drkd.config import as_bytes
    from drkd.data.record import fingerprint
    from drkd.methods.registry import get_method
    from drkd.models.counting import count_macs
    from drkd.targets import Cached, CrossFitted, Frozen
    from drkd.targets.teacher_cache import TeacherCache
    from drkd.utils.distributed import world_size

    limit = as_bytes(config.cache_size)
    if get_method(config.method).clean_view:
        return teacher
    asked = with_precision(teacher, config)
    if not limit or world_size() > 1 or config.sampler == "balanced":
        return asked
    with contextlib.suppress(RuntimeError, NotImplementedError):  # a network that cannot run on shapes alone
        network = teacher.teachers[0] if isinstance(teacher, CrossFitted) else teacher
        if count_macs(cast("nn.Module", network), data.train.inputs.shape[1:]) < CHEAP:
            return asked
    frozen = asked if isinstance(asked, (Frozen, CrossFitted)) else Frozen(asked)
    belongs_to: dict[str, Any] = {
        "drkd": __version__,
        "answers": ANSWERS,
        "teacher": frozen.identity,
        "images": fingerprint(data.train),
        "mean": data.mean,
        "std": data.std,
        "augmentation": asdict(data.augmentation),
        "seed": config.seed,
        "precision": config.precision,
    }
    if config.teacher_precision is not None:  # whether it holds depends on the teacher and the images alone
        belongs_to["teacher_precision"] = config.teacher_precision
    if config.mixup or config.cutmix:  # an image's partner follows it in its batch
        names = ("mixup", "cutmix", "mix_prob", "batch_size")
        belongs_to["mixing"] = {name: getattr(config, name) for name in names}
    root = Path(config.cache) if config.cache is not None else default_cache(out)
    return Cached(frozen, TeacherCache(root, belongs_to, limit=limit), samples=len(data.train))


def with_precision(teacher: "nn.Module", config: "TrainConfig") -> "nn.Module":
    """`teacher`, or where `config` names a precision of its own a target that asks it in that."""
    from drkd.targets import CrossFitted, Frozen

    if config.teacher_precision is None or config.teacher_precision == "auto":
        return teacher
    if isinstance(teacher, CrossFitted):
        return CrossFitted(teacher.teachers, teacher.fold, precision=config.teacher_precision)
    return Frozen(teacher, precision=config.teacher_precision)


def default_cache(out: Path) -> Path:
    """Where the runs beside `out` share their teachers' answers."""
    return out.parent / "teacher-cache"
