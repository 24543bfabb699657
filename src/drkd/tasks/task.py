"""What each kind of training defines: an object for classifiers, one for detectors, one for segmenters.

No other room decides anything by a task's name: runs, studies, exports, reports and the command line call these
methods. The learner, which `drkd.fit` finds by the type of the data, is the task's other half
(`drkd.training.learner`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from drkd.tasks.kinds import Described, SplitMetrics, TaskData
from drkd.utils.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from drkd.config import BenchConfig, TrainConfig
    from drkd.data.checking import Findings
    from drkd.data.preprocessing import Preprocessing
    from drkd.data.record import FileRecord
    from drkd.models.files import ModelInfo
    from drkd.objective.objective import Objective
    from drkd.tasks.answers import Asked, ReadImage, Row
    from drkd.tasks.use import Use
    from drkd.utils.files import JsonObject


@dataclass(frozen=True)
class Metric:
    """How a metric is shown: its heading in a table, its label in a sentence, the factor and the digits."""

    name: str
    heading: str
    label: str
    factor: float = 100
    digits: int = 2


class Task(ABC):
    """A kind of training. Abstract.

    Attributes:
        name: as `--task` takes it.
        metrics: what is measured on a split; the first one is compared, plotted and chosen by.
        validation_metrics: those that are kept of the validation split.
        details: what else is kept of the test split of every seed, by its name in the metrics.
        teacher_metric: what is reported of the teacher on the training split.
        better, worse: in a sentence, between the names of two methods.
        legend: what the metrics mean, below a table.
        class_metric: what is shown of each class, by its name in the rows of the detail `per_class`.
        input: what a deployed network takes.
        outputs: what it answers, by name.
        varying: which dimensions of its input may have any length, by name.
        most_images: how many it takes at once; None for any number.
        batch: how many it gets at once by default; a mask takes more memory than a class.
        asked: which fields of `Asked` have an effect.
        answer_formats: in which `drkd predict` writes answers.
        answer_columns: of its table.
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    validation_metrics: ClassVar[tuple[str, ...]]
    details: ClassVar[tuple[str, ...]]
    teacher_metric: ClassVar[str]
    better: ClassVar[str]
    worse: ClassVar[str]
    legend: ClassVar[str]
    class_metric: ClassVar[Metric]
    input: ClassVar[str] = "uint8 (B, C, H, W), 0 to 255"
    outputs: ClassVar[tuple[str, ...]] = ("logits",)
    varying: ClassVar[Mapping[int, str]] = {0: "batch"}
    most_images: ClassVar[int | None] = None
    batch: ClassVar[int] = 64
    asked: ClassVar[tuple[str, ...]] = ("top", "probabilities")
    answer_formats: ClassVar[tuple[str, ...]] = ("csv", "json")
    answer_columns: ClassVar[tuple[str, ...]] = ("file", "label", "probability")

    @property
    def primary(self) -> str:
        """The metric that decides."""
        return self.metrics[0].name

    @property
    def label(self) -> str:
        """The metric that decides, in a sentence."""
        return self.metrics[0].label

    @property
    def metric_names(self) -> tuple[str, ...]:
        """All metrics by name."""
        return tuple(metric.name for metric in self.metrics)

    def metric(self, name: str) -> Metric:
        """The metric called `name`."""
        return next(metric for metric in self.metrics if metric.name == name)

    @abstractmethod
    def load(self, config: "TrainConfig", wanted: "Preprocessing | None" = None) -> TaskData:
        """The data that `config` names, split for its seed; `wanted` is how a network wants its images, if it says."""

    def wanted(self, config: "TrainConfig") -> "Preprocessing | None":
        """How the weights that `config` starts from want their images; None for random ones."""
        return None

    @abstractmethod
    def made_up(self, config: "BenchConfig", samples: int) -> TaskData:
        """Random images to train on, and none in the other splits: the cost of a step is measured with them."""

    @abstractmethod
    def list_files(self, name: str) -> "Mapping[str, FileRecord]":
        """The files of a data set with their labels and sizes, to notice changes; nothing is decoded."""

    @abstractmethod
    def check(self, name: str, progress: Callable[[int, int], None] | None = None) -> "Findings":
        """Everything that is wrong with a data set; `progress` gets the number of images done, and of all."""

    @abstractmethod
    def build(
        self, info: "ModelInfo", weights: str | None = None, *, pretrained: bool = False, download: bool = False
    ) -> "nn.Module":
        """The network that `info` describes, with trained weights or random ones of torch's global generator."""

    @abstractmethod
    def objective(
        self, config: "TrainConfig", data: TaskData, *, teacher: "nn.Module | None", student: "nn.Module", out: Path
    ) -> "Objective":
        """The method that `config` names, with its teacher and its student in the form in which they teach.

        Args:
            config: of the run.
            data: what is trained on.
            teacher: a frozen network of this task, or None.
            student: what is trained.
            out: the run directory.
        """

    @abstractmethod
    def adapt_teacher(self, teacher: "nn.Module", own: "ModelInfo", student: "ModelInfo", source: str) -> "nn.Module":
        """A teacher as one that takes the student's images.

        Args:
            teacher: of this task, with the student's classes.
            own: how it wants its images.
            student: how the student wants its images.
            source: where the teacher comes from, for messages.

        Raises:
            InputError: for a teacher from which the student cannot learn.
        """

    @abstractmethod
    def check_settings(self, config: "TrainConfig", objective: "Objective") -> None:
        """Refuse what this task cannot do, before anything is written."""

    @abstractmethod
    def evaluate(
        self, network: "nn.Module", data: TaskData, split: str, *, temperature: float | None = None
    ) -> SplitMetrics:
        """The metrics of a network on a split; with a calibrated `temperature` also those of its probabilities."""

    def calibrate(self, network: "nn.Module", data: TaskData) -> float | None:
        """The temperature of a network's probabilities, fitted on the validation split.

        None where there is no such split, and for a task without probabilities of images.
        """
        return None

    def draw(  # noqa: B027
        self, network: "nn.Module", data: TaskData, split: str, measured: SplitMetrics, out: Path
    ) -> None:
        """Write images that show what a network gets wrong; tasks that have none write nothing.

        Args:
            network: what was trained.
            data, split: whose images are shown.
            measured: what `evaluate` found there.
            out: the run directory.
        """

    def describe_classes(self, measured: SplitMetrics) -> list[str]:
        """The metrics of each class, a line each below a heading; nothing where `describe_metrics` has them."""
        del measured
        return []

    @abstractmethod
    def metrics_from_json(self, content: Mapping[str, Any]) -> SplitMetrics:
        """What `evaluate` gave, as a file keeps it."""

    @abstractmethod
    def deploy(self, network: "nn.Module", info: "ModelInfo") -> "nn.Module":
        """The network as it predicts and as it is exported: uint8 pixels (B, C, H, W) to its `outputs`."""

    def use(self, info: "ModelInfo") -> "Use":
        """How the network that `info` describes is used, for its card."""
        from drkd.tasks.use import of_classifier

        return of_classifier(info)

    def check_asked(self, asked: "Asked", files: Sequence[Path]) -> None:
        """Refuse what cannot be answered about `files`.

        Raises:
            InputError: for the first option that has no effect, or a value that does not fit.
        """
        boxes = {f"boxes.{name}": value for name, value in vars(asked.boxes).items()}
        for name, value in {**vars(asked), **boxes, "boxes": None}.items():
            if value not in (None, False) and name not in self.asked:
                option = name.replace("boxes.coco", "format coco").removeprefix("boxes.")
                raise InputError(f"{self.name} takes no --{option}; leave it out")

    def read_image(self, file: Path, info: Described) -> "ReadImage":
        """An image as a deployed network takes it.

        Raises:
            BadImageError: if it cannot be read.
        """
        from drkd.data.decoding import decode
        from drkd.tasks.answers import ReadImage

        pixels = decode(file, info.image_size, info.channels, info.margin, interpolation=info.interpolation)
        return ReadImage(file, pixels, (info.image_size, info.image_size))

    @abstractmethod
    def answer(
        self, outputs: "Sequence[NDArray[Any]]", images: "Sequence[ReadImage]", info: Described, asked: "Asked"
    ) -> "Iterator[Row]":
        """What the `outputs` of a deployed network say of `images`, as it was asked."""

    def answer_record(self, row: "Row", format: str, classes: Sequence[str]) -> "JsonObject":
        """A row of `answer` as JSON, in one of the `answer_formats`."""
        del format, classes
        return {name: value for name, value in asdict(row).items() if value is not None}

    @abstractmethod
    def pixels(self, split: Any, positions: "Tensor") -> "NDArray[np.uint8] | list[NDArray[np.uint8]]":
        """Images of a split as a deployed network takes them, uint8 (C, H, W) each."""

    @abstractmethod
    def truth(self, split: Any, positions: "Tensor") -> Any:
        """What is true of these images, as the metrics take it."""

    @abstractmethod
    def describe_metrics(self, measured: SplitMetrics) -> str:
        """The metrics in a line, or in several."""
