"""Averages of the student's weights over its training, which are then what is measured, chosen, kept and deployed.

`ema` keeps a running average, taken after every step, of weights and buffers. `swa` is stochastic weight averaging
(arXiv 1803.05407): the mean of the weights at the ends of the last epochs, whose batch norms get their statistics from
one more pass over the training split. Either leaves the training itself as it is, to the bit.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, update_bn

from drkd.config import FitSettings, as_average
from drkd.targets import Ema
from drkd.training.learner import Learner
from drkd.utils.distributed import add_up, world_size
from drkd.utils.progress import tracked

DECAY = 0.99
"""Fraction that `ema` keeps at each step, where no other is given and no average of the student teaches."""

FROM = 0.75
"""Fraction of the training after which `swa` begins, where no other is given."""


class Average(ABC):
    """An average of the student. Abstract.

    Attributes:
        name: as `--average` takes it, with its number.
        network: the average, in eval mode.
        first_epoch: at the end of which there is one; before that the student itself is measured.
    """

    name: str
    network: nn.Module
    first_epoch = 0

    def __init__(self, student: nn.Module) -> None:
        self.student = student

    def after_step(self) -> None:  # noqa: B027
        """Take in the weights after an optimizer step that was made."""

    @abstractmethod
    def end_epoch(self, epoch: int, learner: Learner[Any, Any]) -> None:
        """Be ready to be measured, after the last step of `epoch` (from 0); on all ranks alike."""

    @abstractmethod
    def state(self) -> dict[str, Tensor] | None:
        """What a checkpoint has to keep of it; None where the objective's state holds it already."""

    @abstractmethod
    def load(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""

    @contextmanager
    def in_student(self, epoch: int, learner: Learner[Any, Any]) -> Iterator[None]:
        """End `epoch`, and meanwhile give the student the average's weights, if there is an average yet."""
        if epoch < self.first_epoch:
            yield
            return
        self.end_epoch(epoch, learner)
        own = {name: tensor.clone() for name, tensor in self.student.state_dict().items()}
        self.student.load_state_dict(self.network.state_dict())
        try:
            yield
        finally:
            self.student.load_state_dict(own)


class RunningAverage(Average):
    """`ema`. One that teaches the student is this average, too: the objective updates it and holds its state.

    Args:
        student: what is trained.
        objective: the method; an `Ema` of `student` in it is taken where its decay is `decay`.
        decay: None takes that of the one which teaches, or else `DECAY`.
    """

    def __init__(self, student: nn.Module, objective: nn.Module, decay: float | None) -> None:
        super().__init__(student)
        teaching = [
            (part, average)
            for part in objective.modules()
            if isinstance(part, Ema)
            and (average := part.average_of(student)) is not None
            and decay in (None, part.decay)
        ]
        self.teaches = bool(teaching)
        if teaching:
            self.ema, self.network = teaching[0]
        else:
            self.ema = Ema(student, DECAY if decay is None else decay)
            self.network = self.ema.average
        self.name = f"ema:{self.ema.decay}"

    def after_step(self) -> None:
        if not self.teaches:
            self.ema.update()

    def end_epoch(self, epoch: int, learner: Learner[Any, Any]) -> None:
        del epoch, learner

    def state(self) -> dict[str, Tensor] | None:
        return None if self.teaches else self.ema.state_dict()

    def load(self, state: dict[str, Tensor]) -> None:
        self.ema.load_state_dict(state)


class StochasticAverage(Average):
    """`swa`.

    Args:
        student: what is trained.
        begin: fraction of the training after which the first weights are taken, at the end of an epoch.
        epochs: of the training.
    """

    def __init__(self, student: nn.Module, begin: float, epochs: int) -> None:
        super().__init__(student)
        self.name = f"swa:{begin}"
        self.first_epoch = _first_epoch(begin, epochs)
        self.model = AveragedModel(student).eval().requires_grad_(False)
        self.network = self.model.module

    def end_epoch(self, epoch: int, learner: Learner[Any, Any]) -> None:
        self.model.update_parameters(self.student)
        pairs = zip(self.network.modules(), self.student.modules(), strict=True)
        norms = [ours for ours, theirs in pairs if isinstance(ours, _BatchNorm) and theirs.training]
        if not norms:  # there are none, or all are frozen and keep their statistics
            return
        passes = tracked(learner.loader.batches(epoch, 0), "batch norm of the average", len(learner.loader))
        batches = ([batch] for batch in passes)  # a list: `update_bn` takes its first entry
        devices = [tensor.device for tensor in self.network.parameters() if tensor.device.type == "cuda"][:1]
        with torch.random.fork_rng(devices):  # dropout draws numbers here, the training must not notice
            update_bn(batches, _Passes(self.network, self.student, learner).eval())
        for statistics in [norm.running_mean for norm in norms] + [norm.running_var for norm in norms]:
            if statistics is not None and world_size() > 1:
                statistics.copy_(add_up(statistics) / world_size())

    def state(self) -> dict[str, Tensor] | None:
        return self.model.state_dict()

    def load(self, state: dict[str, Tensor]) -> None:
        self.model.load_state_dict(state)


class _Passes(nn.Module):
    """A network that is called with a learner's batch; what is frozen in the student stays so in training mode."""

    def __init__(self, network: nn.Module, student: nn.Module, learner: Learner[Any, Any]) -> None:
        super().__init__()
        self.network = network
        self.parts = tuple(zip(network.modules(), student.modules(), strict=True))
        self.learner = learner

    def train(self, mode: bool = True) -> "_Passes":
        """`update_bn` calls this when it has forgotten all statistics."""
        super().train(mode)
        for ours, theirs in self.parts if mode else ():
            if not theirs.training:
                ours.training = False
                if isinstance(ours, _BatchNorm):
                    ours.load_state_dict(theirs.state_dict())
        return self

    def forward(self, batch: Any) -> object:
        return self.learner.forward(self.network, batch)


def make_average(student: nn.Module, objective: nn.Module, settings: FitSettings) -> Average | None:
    """What `settings` ask for, or None: the student itself is kept.

    Example:
        >>> from drkd import cross_entropy, online_dr_kd
        >>> student, settings = nn.Linear(2, 3), FitSettings(average="ema")
        >>> make_average(student, cross_entropy(), settings).name
        'ema:0.99'
        >>> ema = Ema(student, decay=0.999)
        >>> make_average(student, online_dr_kd(source=ema), settings).network is ema.average
        True
    """
    if settings.average is None:
        return None
    kind, number = as_average(settings.average)
    if kind == "ema":
        return RunningAverage(student, objective, number)
    return StochasticAverage(student, FROM if number is None else number, settings.epochs)


def first_averaged_epoch(settings: FitSettings) -> int:
    """The first epoch (from 0) that ends with an average; 0 without averaging.

    Example:
        >>> first_averaged_epoch(FitSettings(epochs=8, average="swa")), first_averaged_epoch(FitSettings(average="ema"))
        (5, 0)
    """
    kind, begin = ("", None) if settings.average is None else as_average(settings.average)
    return _first_epoch(FROM if begin is None else begin, settings.epochs) if kind == "swa" else 0


def _first_epoch(begin: float, epochs: int) -> int:
    """The first epoch (from 0) at whose end the fraction `begin`, below 1, of the training is done."""
    return max(math.ceil(begin * epochs - 1e-9), 1) - 1  # 0.07 * 100 is 7.000000000000001
