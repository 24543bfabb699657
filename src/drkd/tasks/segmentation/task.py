"""Networks that name every pixel: torchvision's segmenters."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

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
    from drkd.tasks.answers import Asked, FoundMask, ReadImage, Row
    from drkd.tasks.segmentation.dataset import SegmentationData
    from drkd.tasks.segmentation.splits import SegmentationSplit
    from drkd.tasks.use import Use
    from drkd.utils.files import JsonObject


class Segmentation(Task):
    """See `Task`."""

    name = "segmentation"
    metrics = (Metric("miou", "mIoU %", "mIoU"), Metric("pixel_accuracy", "Pixels %", "pixel accuracy"))
    validation_metrics = ("miou", "pixel_accuracy")
    details = ("per_class",)
    teacher_metric = "miou"
    class_metric = Metric("iou", "IoU %", "IoU")
    outputs = ("mask",)
    batch = 8
    asked = ("boxes.draw", "boxes.masks")
    answer_columns = ("file", "label", "fraction", "pixels")
    better, worse = "has a higher mIoU than", "has a lower mIoU than"
    legend = (
        "mIoU: intersection over union of all pixels of the test split, mean over classes, with its standard deviation "
        "over seeds; Pixels: those of the right class. Ignored pixels do not count. A target belongs to a pixel."
    )

    def load(self, config: "TrainConfig", wanted: "Preprocessing | None" = None) -> "SegmentationData":
        from drkd.tasks.segmentation.data import load_segmentation

        return load_segmentation(
            config.data,
            seed=config.seed,
            validation=config.validation,
            limit_train=config.limit_train,
            limit_test=config.limit_test,
            image_size=wanted or config.image_size,
            augment=config.augment,
            skip_bad_images=config.skip_bad_images,
        )

    def made_up(self, config: "BenchConfig", samples: int) -> "SegmentationData":
        from drkd.tasks.segmentation.noise import random_masks

        return random_masks(config, samples)

    def list_files(self, name: str) -> "Mapping[str, FileRecord]":
        from drkd.tasks.detection.data import list_files

        return list_files(name)

    def check(self, name: str, progress: Callable[[int, int], None] | None = None) -> "Findings":
        from drkd.tasks.segmentation.checking import check_masks

        return check_masks(name, progress=progress)

    def build(
        self, info: "ModelInfo", weights: str | None = None, *, pretrained: bool = False, download: bool = False
    ) -> "nn.Module":
        from drkd.tasks.segmentation.networks import create_segmenter

        return create_segmenter(
            info.model, num_classes=len(info.classes), weights=weights, pretrained=pretrained, download=download
        )

    def objective(
        self, config: "TrainConfig", data: TaskData, *, teacher: "nn.Module | None", student: "nn.Module", out: Path
    ) -> "Objective":
        from drkd.methods.registry import create_from
        from drkd.tasks.segmentation.losses import MainOutput

        return create_from(
            config, teacher=None if teacher is None else MainOutput(teacher), student=MainOutput(student)
        )

    def adapt_teacher(self, teacher: "nn.Module", own: "ModelInfo", student: "ModelInfo", source: str) -> "nn.Module":
        if (own.mean, own.std) != (student.mean, student.std):
            raise InputError(
                f"the teacher in {source} expects images with mean {own.mean} and deviation {own.std}, the student "
                f"{student.mean} and {student.std}; give a teacher that was trained with the same"
            )
        return teacher

    def check_settings(self, config: "TrainConfig", objective: "Objective") -> None:
        from drkd.methods.registry import get_method
        from drkd.tasks.segmentation.augment import DEFAULT, parse_pair_augmentation
        from drkd.tasks.segmentation.learning import check_settings, refuse_method

        check_settings(config)
        for wrong, option, why in (
            (config.label_noise > 0, "--label-noise", "labels belong to pixels there"),
            (
                config.download and not (config.pretrained or config.weights),
                "--download",
                "its data is a folder of your own",
            ),
        ):
            if wrong:
                raise InputError(f"segmentation takes no {option}: {why}; leave it out")
        if get_method(config.method).clean_view:
            raise InputError(
                f"segmentation cannot train with {config.method}: a step sees each image once; choose another"
            )
        refuse_method(objective, moves=parse_pair_augmentation(config.augment or DEFAULT).scale is not None)

    def evaluate(
        self, network: "nn.Module", data: TaskData, split: str, *, temperature: float | None = None
    ) -> SplitMetrics:
        from drkd.tasks.segmentation.metrics import evaluate_segmenter

        return evaluate_segmenter(network, cast("SegmentationData", data), split)

    def draw(self, network: "nn.Module", data: TaskData, split: str, measured: SplitMetrics, out: Path) -> None:
        from drkd.tasks.segmentation.drawing import draw_cases
        from drkd.tasks.segmentation.metrics import segment

        scenes = cast("SegmentationData", data)
        draw_cases(segment(network, scenes, split), getattr(scenes, split), scenes.classes, out / "cases.png")

    def metrics_from_json(self, content: Mapping[str, Any]) -> SplitMetrics:
        from drkd.tasks.segmentation.metrics import SegmentationMetrics

        return SegmentationMetrics(**content)

    def deploy(self, network: "nn.Module", info: "ModelInfo") -> "nn.Module":
        from drkd.tasks.segmentation.deployed import deploy_segmenter

        return deploy_segmenter(network, info.mean, info.std)

    def use(self, info: "ModelInfo") -> "Use":
        from drkd.tasks.use import of_segmenter

        return of_segmenter(info)

    def check_asked(self, asked: "Asked", files: Sequence[Path]) -> None:
        from drkd.tasks.segmentation.answering import check_masks_asked

        super().check_asked(asked, files)
        check_masks_asked(asked, files)

    def read_image(self, file: Path, info: Described) -> "ReadImage":
        from drkd.tasks.answers import ReadImage
        from drkd.tasks.segmentation.masks import padded_image

        return ReadImage(file, *padded_image(file, info.image_size))

    def answer(
        self, outputs: "Sequence[NDArray[Any]]", images: "Sequence[ReadImage]", info: Described, asked: "Asked"
    ) -> "Iterator[Row]":
        from drkd.tasks.segmentation.answering import find_masks

        return find_masks(outputs[0], images, info.classes, asked)

    def answer_record(self, row: "Row", format: str, classes: Sequence[str]) -> "JsonObject":
        found = cast("FoundMask", row)
        high, wide = found.mask.shape
        return {"file": found.file, "width": wide, "height": high, "fractions": found.fractions}

    def pixels(self, split: "SegmentationSplit", positions: "Tensor") -> "list[NDArray[np.uint8]]":
        return [split[row][0].numpy() for row in positions.tolist()]

    def truth(self, split: "SegmentationSplit", positions: "Tensor") -> "list[Tensor]":
        return [split[row][1] for row in positions.tolist()]

    def describe_metrics(self, measured: SplitMetrics) -> str:
        values = asdict(measured)
        rows = [f"all classes: mIoU {100 * values['miou']:.2f}%, pixel accuracy {100 * values['pixel_accuracy']:.2f}%"]
        rows += [
            f"{printable(name)}: IoU {100 * row['iou']:.2f}% ({row['pixels']} pixels)"
            for name, row in values["per_class"].items()
        ]
        return "\n".join(rows)
