"""How classifiers learn: batches of `drkd.data.loader`, logits to the objective, accuracy on the validation split."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from drkd.config import FitSettings
from drkd.data.datasets import Data, Split
from drkd.data.loader import Batch, Loader
from drkd.data.mixing import Mixing
from drkd.objective.objective import Objective
from drkd.targets import Cached, ClassMean, Memory
from drkd.training.compilation import Compiled, should_compile
from drkd.training.learner import Learner, StepLosses
from drkd.training.metrics import accuracy_and_nll, batch_to_measure, predict_logits
from drkd.utils.checks import IGNORED
from drkd.utils.distributed import add_up, from_rank_0, rank, world_size
from drkd.utils.errors import InputError
from drkd.utils.labels import MixedLabels


class ClassifierLearner(Learner[Data, Batch]):
    """A network from images, or other inputs, to logits; see `Learner`."""

    loader: Loader

    def __init__(
        self, data: Data, student: nn.Module, objective: Objective, settings: FitSettings, device: torch.device
    ) -> None:
        self.student, self.objective, self.device = student, objective, device
        self.dtype = getattr(torch, settings.precision)
        if settings.teach != "all":
            raise InputError(f"--teach {settings.teach} applies only to detectors; leave it out")
        check_balance(settings, objective)
        self.loader = Loader(
            data,
            data.train,
            batch_size=settings.batch_size,
            training=True,
            seed=settings.seed,
            needs=objective.needs | ({"balanced"} if settings.sampler == "balanced" else set()),
            device=device,
            rank=rank(),
            world_size=world_size(),
            workers=settings.workers,
        )
        if missing := ", ".join(sorted(objective.needs - self.loader.provides)):
            raise InputError(f"`{objective.name}` needs {missing}, which the loader does not provide")
        self.loader.mixing = check_mixing(settings, objective)
        self.loader.mixing.check_inputs(data.train.inputs)
        self.ignore_index = getattr(objective, "ignore_index", IGNORED)
        others_ignored = self.ignore_index != IGNORED or bool((data.train.labels == IGNORED).any())
        self.some_ignored = others_ignored or "pairs" in objective.needs
        self.validation = self._in_order(data, data.val, settings)
        self.metric = "val_accuracy" if settings.select == "best" and len(data.val) else None
        objective.prepare(self._in_order(data, data.train, settings))
        shape, images = tuple(data.train.inputs.shape[1:]), settings.epochs * len(data.train)
        self.compiles = should_compile(settings.compile, student, shape, images=images, device=device)
        self.compiling_is_required = settings.compile == "on"
        self.model: Callable[[Tensor], Tensor] = student
        self.wrap()

    def wrap(self) -> None:
        self.model = self.student  # the one before goes first: it watches the parameters that learned until now
        if world_size() > 1:
            self.model = DistributedDataParallel(self.student)
        if self.compiles:
            self.model = Compiled(self.model, self.loader.rows, required=self.compiling_is_required)

    def losses(self, batch: Batch) -> StepLosses:
        if self.dtype == torch.float32:  # a context that does nothing takes time too
            logits, losses = self._forward(batch)
        else:
            with torch.autocast(self.device.type, self.dtype):
                logits, losses = self._forward(batch)
        loss = losses["loss"]
        total = loss if batch.loss_scale == 1 else loss * batch.loss_scale
        labels = batch.labels
        if isinstance(labels, MixedLabels) or labels.is_floating_point():  # accuracy goes by the heaviest class
            labels = (labels if isinstance(labels, MixedLabels) else MixedLabels(labels)).heaviest
        if self.ignore_index != IGNORED:
            labels = labels.where(labels != self.ignore_index, IGNORED)
        correct = (logits.detach().argmax(dim=1) == labels).sum()
        rows = (labels != IGNORED).sum() if self.some_ignored else labels.numel()
        if isinstance(rows, Tensor) and self.ignore_index != IGNORED and world_size() > 1:
            total = loss * (rows * world_size() / add_up(rows).clamp(min=1))  # the loader's scale counts them all
        return StepLosses(total, {**losses, "loss": loss.detach()}, rows, correct)

    def _forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.model(batch.inputs)
        return logits, self.objective(logits, batch.labels, inputs=batch.inputs, index=batch.index)

    def forward(self, network: nn.Module, batch: Batch) -> object:
        return network(batch.inputs)

    def validate(self) -> dict[str, float]:
        if not len(self.validation.split):
            return {}
        accuracy, nll = accuracy_and_nll(*predict_logits(self.student, self.validation))
        return from_rank_0({"val_accuracy": accuracy, "val_nll": nll})

    def _in_order(self, data: Data, split: Split, settings: FitSettings) -> Loader:
        """A loader that neither shuffles nor augments."""
        return Loader(
            data,
            split,
            batch_size=batch_to_measure(split, self.device, settings.batch_size),
            training=False,
            device=self.device,
            workers=settings.workers,
        )


def check_balance(settings: FitSettings, objective: Objective) -> None:
    """Refuse what balanced sampling does not go with.

    Raises:
        InputError: for balanced class weights, and for a cache of answers about each sample's one view.
    """
    weights = getattr(objective, "row_weights", None)
    if settings.sampler == "balanced" and any(isinstance(target, Cached) for target in objective.modules()):
        raise InputError(
            "a cache of teacher outputs holds one view of each sample, but --sampler balanced shows several; "
            "use the teacher itself"
        )
    if settings.sampler == "balanced" and weights is not None and weights.balanced:
        raise InputError(
            "rare classes would count twice over: --sampler balanced shows them as often as others, and balanced class "
            "weights count them more; use only one of the two"
        )


def check_mixing(settings: FitSettings, objective: Objective) -> Mixing:
    """How training images are to be mixed.

    Raises:
        InputError: for a method that cannot bear it.
    """
    mixing = Mixing(settings.mixup, settings.cutmix, settings.mix_prob)
    if mixing and (pairs := sorted(objective.needs & {"pairs", "replay"})):
        raise InputError(
            f"`{objective.name}` takes no --mixup and --cutmix: it needs {pairs[0]}, another view of a sample or of "
            "its class, and a mixed image belongs to two; leave them out"
        )
    if mixing and mixing.prob == 1 and any(isinstance(target, (Memory, ClassMean)) for target in objective.modules()):
        raise InputError(
            f"`{objective.name}` learns from unmixed images, and with --mix-prob 1 "
            "there are none; choose a smaller value"
        )
    return mixing
