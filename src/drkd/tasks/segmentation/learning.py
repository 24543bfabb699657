"""How segmenters learn: the objective on every pixel, an auxiliary head beside it, mIoU on the validation split.

`drkd.fit` trains them like classifiers:

    drkd.fit(network, drkd.dr_kd(MainOutput(teacher)), drkd.tasks.segmentation.load_segmentation("FOLDER"), epochs=30)
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from drkd.config import SEGMENTATION, FitSettings
from drkd.objective.objective import Objective
from drkd.tasks.segmentation.batches import SegmentationBatch, SegmentationLoader
from drkd.tasks.segmentation.losses import losses_of, outputs_of
from drkd.tasks.segmentation.metrics import evaluate_segmenter, pixels_of_classes
from drkd.tasks.segmentation.networks import backbone_of
from drkd.tasks.segmentation.splits import SegmentationSplits
from drkd.training.learner import Learner, StepLosses
from drkd.utils.checks import IGNORED
from drkd.utils.distributed import add_up, from_rank_0, rank, world_size
from drkd.utils.errors import InputError


class SegmenterLearner(Learner[SegmentationSplits, SegmentationBatch]):
    """A network from images to torchvision's dictionary, or to logits (B, K, H, W); see `Learner`.

    Example:
        >>> import drkd
        >>> from drkd.tasks.segmentation import SegmentationData, SegmentationSplit, create_segmenter
        >>> images, masks = torch.randint(256, (4, 3, 16, 16)).byte(), torch.randint(2, (4, 16, 16)).byte()
        >>> split = SegmentationSplit.of(images, masks)
        >>> data = SegmentationData("made up", ("sky", "sea"), 16, train=split, val=split, test=split)
        >>> student = create_segmenter("small_fcn", num_classes=2)
        >>> result = drkd.fit(student, drkd.cross_entropy(), data, epochs=1, batch_size=2)
        >>> list(result.history[0])
        ['epoch', 'lr', 'loss', 'ce', 'train_accuracy', 'val_miou', 'val_pixel_accuracy']
    """

    loader: SegmentationLoader

    defaults: ClassVar[Mapping[str, Any]] = {k: v for k, v in SEGMENTATION.items() if k in FitSettings.model_fields}

    def __init__(
        self,
        data: SegmentationSplits,
        student: nn.Module,
        objective: Objective,
        settings: FitSettings,
        device: torch.device,
    ) -> None:
        check_settings(settings)
        refuse_method(objective, moves=data.augmentation.scale is not None)
        if (ignored := getattr(objective, "ignore_index", IGNORED)) != IGNORED:
            raise InputError(
                f"segmentation marks ignored pixels by {IGNORED} itself, got an objective with ignore_index={ignored}; "
                "leave it out"
            )
        self.data, self.student, self.objective, self.device = data, student, objective, device
        self.dtype = getattr(torch, settings.precision)
        self.loader = SegmentationLoader(
            data,
            data.train,
            batch_size=settings.batch_size,
            training=True,
            seed=settings.seed,
            device=device,
            workers=settings.workers,
            rank=rank(),
            world_size=world_size(),
        )
        objective.reset()
        weights = getattr(objective, "row_weights", None)
        if weights is not None and weights.balanced:
            weights.prepare(pixels_of_classes(data.train, len(data.classes))[None])
        self.metric = "val_miou" if settings.select == "best" and len(data.val) else None
        self.model: nn.Module = student
        self.wrap()

    def wrap(self) -> None:
        self.model = self.student  # the one before goes first: it watches the parameters that learned until now
        if world_size() > 1:
            self.model = DistributedDataParallel(self.student)

    @classmethod
    def backbone_of(cls, student: nn.Module) -> nn.Module | None:
        return backbone_of(student)

    def losses(self, batch: SegmentationBatch) -> StepLosses:
        if self.dtype == torch.float32:
            outputs, losses = self._forward(batch)
        else:
            with torch.autocast(self.device.type, self.dtype):
                outputs, losses = self._forward(batch)
        correct = (outputs["out"].detach().argmax(dim=1) == batch.labels).sum()
        loss, pixels = losses["loss"], (batch.labels != IGNORED).sum()
        parts = {**losses, "loss": loss.detach()}
        if world_size() > 1:  # each rank's loss counts by its pixels, and the ranks' gradients are averaged
            of_all = add_up(pixels).clamp(min=1)
            loss = loss * (pixels * world_size() / of_all)
        return StepLosses(loss, parts, pixels, correct)

    def _forward(self, batch: SegmentationBatch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        outputs = outputs_of(self.model(batch.images))
        return outputs, losses_of(outputs, batch.images, batch.labels, self.objective, index=batch.index)

    def forward(self, network: nn.Module, batch: SegmentationBatch) -> object:
        return network(batch.images)

    def validate(self) -> dict[str, float]:
        if not len(self.data.val):
            return {}
        row: dict[str, float] = {}
        if rank() == 0:  # whose batch norms are the student's
            measured = evaluate_segmenter(self.student, self.data, "val")
            row = {"val_miou": measured.miou, "val_pixel_accuracy": measured.pixel_accuracy}
        return from_rank_0(row)


def check_settings(settings: FitSettings) -> None:
    """Refuse what segmentation cannot do yet, in one line.

    Raises:
        InputError: for the first option that does not fit.
    """
    for wrong, option, why in (
        (settings.compile == "on", "--compile on", "it is not measured there"),
        (settings.mixup > 0 or settings.cutmix > 0, "--mixup and --cutmix", "masks are not mixed"),
        (settings.sampler != "shuffled", f"--sampler {settings.sampler}", "an image has several classes"),
    ):
        if wrong:
            raise InputError(f"segmentation takes no {option}: {why}; leave it out")


def refuse_method(objective: Objective, *, moves: bool) -> None:
    """Refuse methods that cannot work on pixels.

    Args:
        objective: the method.
        moves: whether augmentation shows an image's pixels at other positions in every epoch.

    Raises:
        InputError: for methods that pair or replay images, and where positions move for those that remember them.
    """
    if strange := objective.needs - {"inputs", "index"}:
        raise InputError(
            f"`{objective.name}` needs batches with {', '.join(sorted(strange))}, which segmentation does not have; "
            "choose another"
        )
    if moves and "index" in objective.needs:
        raise InputError(
            f"`{objective.name}` remembers predictions for each pixel, and scale_crop moves pixels; use --augment flip "
            "or none, or online_dr_kd with --source ema"
        )
