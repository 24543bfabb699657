"""Networks that say of each class whether it is true of an image."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from drkd.tasks.classification import Classification, describe_calibrated
from drkd.tasks.kinds import SplitMetrics, TaskData
from drkd.tasks.tables import lines_by_class
from drkd.tasks.task import Metric
from drkd.utils.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from drkd.config import BenchConfig, TrainConfig
    from drkd.data import Data
    from drkd.data.checking import Findings
    from drkd.data.preprocessing import Preprocessing
    from drkd.data.record import FileRecord
    from drkd.models.files import ModelInfo
    from drkd.objective.objective import Objective
    from drkd.tasks.multilabel.data import MultiLabelData
    from drkd.tasks.multilabel.metrics import MultiLabelMetrics
    from drkd.tasks.use import Use


class MultiLabel(Classification):
    """See `Task`."""

    name = "multilabel"
    metrics = (
        Metric("mean_ap", "mAP %", "mean AP"),
        Metric("accuracy", "Accuracy %", "accuracy"),
        Metric("macro_f1", "Macro F1 %", "macro F1"),
        Metric("nll", "NLL", "NLL", 1, 3),
    )
    validation_metrics = ("mean_ap", "accuracy", "nll")
    details = ("per_class",)
    class_metric = Metric("mean_ap", "mAP %", "mean AP")
    teacher_metric = "accuracy"
    better, worse = "has a higher mean AP than", "has a lower mean AP than"
    legend = (
        "mAP: mean over classes of the average precision on the test split, with its standard deviation over seeds; "
        "accuracy and F1 at a probability of 0.5."
    )

    def load(self, config: "TrainConfig", wanted: "Preprocessing | None" = None) -> "MultiLabelData":
        from drkd.tasks.multilabel.data import load_multilabel

        return load_multilabel(
            config.data,
            seed=config.seed,
            validation=config.validation,
            limit_train=config.limit_train,
            limit_test=config.limit_test,
            image_size=wanted or config.image_size,
            augment=config.augment,
            skip_bad_images=config.skip_bad_images,
        )

    def made_up(self, config: "BenchConfig", samples: int) -> "MultiLabelData":
        from drkd.tasks.multilabel.noise import random_labels

        return random_labels(config, samples)

    def list_files(self, name: str) -> "Mapping[str, FileRecord]":
        from drkd.tasks.multilabel.data import list_files

        return list_files(name)

    def check(self, name: str, progress: Callable[[int, int], None] | None = None) -> "Findings":
        from drkd.tasks.multilabel.checking import check_labels

        return check_labels(name, progress=progress)

    def objective(
        self, config: "TrainConfig", data: TaskData, *, teacher: "nn.Module | None", student: "nn.Module", out: Path
    ) -> "Objective":
        from drkd.methods.registry import create_from, get_method
        from drkd.tasks.classification import with_precision
        from drkd.tasks.multilabel.learning import PerClass

        if teacher is not None:
            teacher = PerClass(teacher)
            teacher = teacher if get_method(config.method).clean_view else with_precision(teacher, config)
        return create_from(config, teacher=teacher, student=PerClass(student))

    def check_settings(self, config: "TrainConfig", objective: "Objective") -> None:
        from drkd.tasks.multilabel.learning import refuse_by_class

        for wrong, option, why in (
            (config.label_noise > 0, "--label-noise", "it replaces one class by another"),
            (config.download, "--download", "its data is a folder of your own"),
        ):
            if wrong:
                raise InputError(f"multilabel takes no {option}: {why}; leave it out")
        refuse_by_class(objective, config)

    def evaluate(
        self, network: "nn.Module", data: TaskData, split: str, *, temperature: float | None = None
    ) -> SplitMetrics:
        from drkd.tasks.multilabel.metrics import evaluate_multilabel

        return evaluate_multilabel(network, cast("Data", data), split, temperature=temperature)

    def metrics_from_json(self, content: Mapping[str, Any]) -> SplitMetrics:
        from drkd.tasks.multilabel.metrics import MultiLabelMetrics

        return MultiLabelMetrics(**content)

    def use(self, info: "ModelInfo") -> "Use":
        from drkd.tasks.use import of_classifier

        return of_classifier(info, odds="sigmoid()")

    def probabilities(self, logits: "Tensor", temperature: float = 1.0) -> "Tensor":
        return (logits / temperature).sigmoid()

    def name_classes(self, probabilities: "Tensor", classes: Sequence[str]) -> list[list[tuple[str, float]]]:
        """The classes of a probability of 0.5 or more; where there is none, an empty name with that of none."""
        found = []
        for row in probabilities.tolist():
            there = [(name, probability) for name, probability in zip(classes, row, strict=True) if probability >= 0.5]
            found.append(there or [("", 1 - max(row))])
        return found

    def describe_metrics(self, measured: SplitMetrics) -> str:
        found = cast("MultiLabelMetrics", measured)
        return (
            f"mean AP {100 * found.mean_ap:.2f}%, accuracy {100 * found.accuracy:.2f}%, all labels of an image right "
            f"{100 * found.exact:.2f}%, macro F1 {100 * found.macro_f1:.2f}%, NLL {found.nll:.4f}"
            f"{'' if found.ece is None else f', ECE {100 * found.ece:.2f}%'}{describe_calibrated(vars(found))}"
        )

    def describe_classes(self, measured: SplitMetrics) -> list[str]:
        return lines_by_class(cast("MultiLabelMetrics", measured).per_class, "images", {"mean_ap": "AP %"})
