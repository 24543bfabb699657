"""How detectors learn: the detector's own training step, its class loss by the objective, mAP on the validation split.

`drkd.fit` trains them like classifiers:

    drkd.fit(detector, drkd.dr_kd(AtPositions(teacher)), drkd.tasks.detection.load_detection("FOLDER"), epochs=30)
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from drkd.config import DETECTION, FitSettings
from drkd.objective.objective import Objective
from drkd.tasks.detection.batches import DetectionBatch, DetectionLoader
from drkd.tasks.detection.losses import Step, watched
from drkd.tasks.detection.metrics import evaluate_detector
from drkd.tasks.detection.splits import DetectionSplits
from drkd.tasks.detection.starts import backbone_of
from drkd.training.learner import Learner, StepLosses
from drkd.utils.distributed import add_up, from_rank_0, rank, world_size
from drkd.utils.errors import InputError


class DetectorLearner(Learner[DetectionSplits, DetectionBatch]):
    """torchvision's Faster R-CNN, SSD or RetinaNet on images with boxes; see `Learner`.

    Example:
        >>> import drkd
        >>> from drkd.tasks.detection import DetectionData, DetectionSplit, create_detector
        >>> box = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
        >>> split = DetectionSplit.of([torch.zeros(3, 48, 64, dtype=torch.uint8)] * 4, [box] * 4)
        >>> data = DetectionData("made up", ("cell",), 64, train=split, val=split, test=split)
        >>> student = create_detector("small_ssd", num_classes=1, image_size=64)
        >>> result = drkd.fit(student, drkd.cross_entropy(), data, epochs=1, batch_size=2)
        >>> list(result.history[0])
        ['epoch', 'lr', 'loss', 'bbox_regression', 'classification', 'ce', 'val_map', 'val_map50', 'val_ar']
    """

    loader: DetectionLoader

    defaults: ClassVar[Mapping[str, Any]] = {k: v for k, v in DETECTION.items() if k in FitSettings.model_fields}

    def __init__(
        self,
        data: DetectionSplits,
        student: nn.Module,
        objective: Objective,
        settings: FitSettings,
        device: torch.device,
    ) -> None:
        check_settings(settings)
        if getattr(objective, "row_weights", None) is not None:
            raise InputError(
                "detection takes no class weights: most of the scored positions are background; leave them out"
            )
        if "index" in objective.needs and data.operations:
            raise InputError(
                f"`{objective.name}` remembers positions, which --augment {'+'.join(data.operations)} moves; use flip "
                "or none, or another method"
            )
        self.data, self.student, self.objective, self.device = data, student, objective, device
        self.dtype, self.teach = getattr(torch, settings.precision), settings.teach
        self.loader = DetectionLoader(
            data,
            data.train,
            batch_size=settings.batch_size,
            training=True,
            seed=settings.seed,
            device=device,
            rank=rank(),
            world_size=world_size(),
        )
        objective.reset()
        self.metric = "val_map" if settings.select == "best" and len(data.val) else None
        self.model: nn.Module = student
        self.wrap()

    def wrap(self) -> None:
        self.model = DistributedDataParallel(self.student) if world_size() > 1 else self.student

    @classmethod
    def backbone_of(cls, student: nn.Module) -> nn.Module:
        return backbone_of(student)

    def losses(self, batch: DetectionBatch) -> StepLosses:
        low = self.dtype != torch.float32
        with (
            torch.autocast(self.device.type, self.dtype) if low else nullcontext(),
            watched(self.student, self.objective, index=batch.index, teach=self.teach) as step,
        ):
            losses: dict[str, Tensor] = self.model(batch.images, [dict(target) for target in batch.targets])
        total = torch.stack(list(losses.values())).sum()
        named = {name: value.detach() for name, value in {"loss": total, **losses, **step.parts}.items()}
        images = len(batch.images)
        if world_size() == 1:
            return StepLosses(total, named, images)
        scale, of_positions = _shares(step, images, self.device)
        total = total * (world_size() * scale)
        all_images = batch.size / images
        for name, value in named.items():
            mean = name == "rectified" or name.endswith("_kl")
            named[name] = value * (all_images * (of_positions if mean else scale))
        return StepLosses(total, named, images)

    def forward(self, network: nn.Module, batch: DetectionBatch) -> object:
        return network(batch.images, batch.targets)

    def validate(self) -> dict[str, float]:
        if not len(self.data.val):
            return {}
        row: dict[str, float] = {}
        if rank() == 0:  # whose batch norms are the student's
            measured = evaluate_detector(self.student, self.data, "val")
            row = {"val_map": measured.map, "val_map50": measured.map50, "val_ar": measured.ar}
        return from_rank_0(row)


def _shares(step: Step, images: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """This rank's share of what the losses of a batch are divided by, and of its scored positions.

    torchvision divides by numbers of anchors or images of its own batch; over all ranks together it is one batch.
    """
    divisor = torch.tensor(images, device=device) if step.divisor is None else step.divisor
    own = torch.stack([divisor.double(), torch.tensor(step.positions, device=device).double()])
    of_loss, of_positions = (own / add_up(own).clamp(min=1)).float()
    return of_loss, of_positions


def check_settings(settings: FitSettings) -> None:
    """Refuse what detection cannot do yet, in one line.

    Raises:
        InputError: for the first option that does not fit.
    """
    for wrong, option, why in (
        (settings.compile == "on", "--compile on", "the number of boxes changes from step to step"),
        (settings.mixup > 0 or settings.cutmix > 0, "--mixup and --cutmix", "boxes cannot be mixed"),
        (settings.workers is not None, "--workers", "its loader chooses the number itself"),
        (settings.sampler != "shuffled", f"--sampler {settings.sampler}", "an image has several classes"),
    ):
        if wrong:
            raise InputError(f"detection takes no {option}: {why}; leave it out")
