"""Networks that find objects on images: torchvision's detectors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from drkd.tasks.kinds import Described, SplitMetrics, TaskData
from drkd.tasks.task import Metric, Task
from drkd.utils.errors import InputError
from drkd.utils.text import printable

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
    from drkd.tasks.answers import Asked, FoundBox, ReadImage, Row
    from drkd.tasks.detection.dataset import DetectionData
    from drkd.tasks.detection.splits import DetectionSplit, Target
    from drkd.tasks.use import Use
    from drkd.utils.files import JsonObject


class Detection(Task):
    """See `Task`."""

    name = "detection"
    metrics = (Metric("map", "mAP %", "mAP"), Metric("map50", "mAP50 %", "mAP50"), Metric("ar", "AR %", "AR"))
    validation_metrics = ("map", "map50", "ar")
    details = ("per_class",)
    teacher_metric = "map50"
    class_metric = metrics[1]
    input = "uint8 (1, 3, H, W), 0 to 255"
    outputs = ("boxes", "labels", "scores")
    varying: ClassVar[Mapping[int, str]] = {2: "height", 3: "width"}
    most_images = 1
    asked = ("boxes.threshold", "boxes.nms", "boxes.draw", "boxes.coco")
    answer_formats = ("csv", "json", "coco")
    answer_columns = ("file", "label", "score", "x1", "y1", "x2", "y2")
    better, worse = "has a higher mAP than", "has a lower mAP than"
    legend = (
        "mAP: COCO's average precision on the test split, mean over overlaps 0.50 to 0.95 and classes, with its "
        "standard deviation over seeds; mAP50: at 0.5; AR: recall with 100 detections. A target belongs to a scored "
        "position."
    )

    def load(self, config: "TrainConfig", wanted: "Preprocessing | None" = None) -> "DetectionData":
        from drkd.tasks.detection.data import load_detection

        return load_detection(
            config.data,
            seed=config.seed,
            validation=config.validation,
            limit_train=config.limit_train,
            limit_test=config.limit_test,
            image_size=config.image_size,
            augment=config.augment,
            skip_bad_images=config.skip_bad_images,
        )

    def made_up(self, config: "BenchConfig", samples: int) -> "DetectionData":
        from drkd.tasks.detection.noise import random_boxes

        return random_boxes(config, samples)

    def list_files(self, name: str) -> "Mapping[str, FileRecord]":
        from drkd.tasks.detection.data import list_files

        return list_files(name)

    def check(self, name: str, progress: Callable[[int, int], None] | None = None) -> "Findings":
        from drkd.tasks.detection.checking import check_boxes

        return check_boxes(name, progress=progress)

    def build(
        self, info: "ModelInfo", weights: str | None = None, *, pretrained: bool = False, download: bool = False
    ) -> "nn.Module":
        from drkd.tasks.detection.networks import create_detector

        return create_detector(
            info.model,
            num_classes=len(info.classes),
            image_size=info.image_size,
            weights=weights,
            pretrained=pretrained,
            download=download,
        )

    def objective(
        self, config: "TrainConfig", data: TaskData, *, teacher: "nn.Module | None", student: "nn.Module", out: Path
    ) -> "Objective":
        from drkd.methods.registry import create_from
        from drkd.tasks.detection.positions import AtPositions

        return create_from(
            config, teacher=None if teacher is None else AtPositions(teacher), student=AtPositions(student)
        )

    def adapt_teacher(self, teacher: "nn.Module", own: "ModelInfo", student: "ModelInfo", source: str) -> "nn.Module":
        if own.model != student.model:
            raise InputError(
                f"the teacher in {source} is a {own.model}, the student a {student.model}: they score different "
                "positions; give a detector of the same name"
            )
        return teacher

    def check_settings(self, config: "TrainConfig", objective: "Objective") -> None:
        from drkd.methods.registry import get_method
        from drkd.tasks.detection.augment import parse_augmentation
        from drkd.tasks.detection.learning import check_settings

        check_settings(config)
        moves = config.augment is not None and bool(parse_augmentation(config.augment)[1])
        if moves and "index" in objective.needs:
            raise InputError(
                f"{config.method} remembers positions, which --augment {config.augment} moves; use flip or none, or "
                "another method"
            )
        for wrong, option, why in (
            (config.label_noise > 0, "--label-noise", "labels belong to boxes there"),
            (
                config.download and not (config.pretrained or config.weights),
                "--download",
                "its data is a folder of your own",
            ),
        ):
            if wrong:
                raise InputError(f"detection takes no {option}: {why}; leave it out")
        if get_method(config.method).clean_view or objective.needs - {"inputs", "index"}:
            raise InputError(
                f"detection cannot train with {config.method}: a step sees each image once; choose another"
            )
        if "index" in objective.needs and "ssd" not in config.model:
            raise InputError(
                f"{config.method} remembers positions, which change from step to step in {config.model}; choose an "
                "SSD, or online_dr_kd with --source ema"
            )

    def evaluate(
        self, network: "nn.Module", data: TaskData, split: str, *, temperature: float | None = None
    ) -> SplitMetrics:
        from drkd.tasks.detection.metrics import evaluate_detector

        return evaluate_detector(network, cast("DetectionData", data), split)

    def draw(self, network: "nn.Module", data: TaskData, split: str, measured: SplitMetrics, out: Path) -> None:
        from drkd.tasks.detection.drawing import draw_cases
        from drkd.tasks.detection.metrics import detect

        boxes = cast("DetectionData", data)
        draw_cases(detect(network, boxes, split), getattr(boxes, split), boxes.classes, out / "cases.png")

    def metrics_from_json(self, content: Mapping[str, Any]) -> SplitMetrics:
        from drkd.tasks.detection.metrics import DetectionMetrics

        return DetectionMetrics(**content)

    def deploy(self, network: "nn.Module", info: "ModelInfo") -> "nn.Module":
        from drkd.tasks.detection.deployed import deploy_detector

        return deploy_detector(network)

    def use(self, info: "ModelInfo") -> "Use":
        from drkd.tasks.use import of_detector

        return of_detector(info)

    def check_asked(self, asked: "Asked", files: Sequence[Path]) -> None:
        from drkd.tasks.detection.answering import check_boxes_asked

        super().check_asked(asked, files)
        check_boxes_asked(asked, files)

    def read_image(self, file: Path, info: Described) -> "ReadImage":
        from drkd.tasks.detection.answering import read_image

        return read_image(file, info.image_size)

    def answer(
        self, outputs: "Sequence[NDArray[Any]]", images: "Sequence[ReadImage]", info: Described, asked: "Asked"
    ) -> "Iterator[Row]":
        from drkd.tasks.detection.answering import find_boxes

        (image,) = images
        found = list(find_boxes(outputs, image, info.classes, asked))
        if asked.boxes.draw is not None:
            from drkd.tasks.detection.overlay import draw_found

            draw_found(image.file, found, info.classes, asked.boxes.draw)
        yield from found

    def answer_record(self, row: "Row", format: str, classes: Sequence[str]) -> "JsonObject":
        from drkd.tasks.detection.answering import coco_result

        if format == "coco":
            return coco_result(cast("FoundBox", row), classes)
        return super().answer_record(row, format, classes)

    def pixels(self, split: "DetectionSplit", positions: "Tensor") -> "list[NDArray[np.uint8]]":
        return [split.images[row].numpy() for row in positions.tolist()]

    def truth(self, split: "DetectionSplit", positions: "Tensor") -> "list[Target]":
        return [split.targets[row] for row in positions.tolist()]

    def describe_metrics(self, measured: SplitMetrics) -> str:
        values = asdict(measured)
        rows = {"all classes": values, **values["per_class"]}
        return "\n".join(f"{printable(name)}: {_describe(row)}" for name, row in rows.items())


def _describe(row: Mapping[str, Any]) -> str:
    boxes = f" ({row['boxes']} boxes)" if "boxes" in row else ""
    return f"mAP {100 * row['map']:.2f}%, mAP50 {100 * row['map50']:.2f}%, AR {100 * row['ar']:.2f}%{boxes}"
