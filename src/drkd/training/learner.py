"""What a training needs to know of a task: its batches, the losses of a batch, its validation.

Classifiers are in `drkd.training.classifier`; data of another task have a method `learner_type` that gives the task's
own subclass of `Learner`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from drkd.config import FitSettings
from drkd.objective.objective import Objective
from drkd.training.compilation import MemoryFormat, choose_memory_format

BatchT = TypeVar("BatchT")
BatchT_co = TypeVar("BatchT_co", covariant=True)
DataT = TypeVar("DataT")


class Batches(Protocol[BatchT_co]):
    """A loader; its length is the number of batches of an epoch."""

    def __len__(self) -> int: ...

    def batches(self, epoch: int, start: int) -> Iterable[BatchT_co]: ...


class StepLosses(NamedTuple):
    """What a step's forward pass gives.

    Attributes:
        total: a scalar to call backward on.
        parts: means over rows, scalars without gradient: `loss` and all else that is to be logged.
        rows: how many rows the means are over.
        correct: how many of them were predicted correctly; None where that is no question.
    """

    total: Tensor
    parts: dict[str, Tensor]
    rows: Tensor | int
    correct: Tensor | None = None


class Learner(ABC, Generic[DataT, BatchT]):
    """One training of a task, put together. Abstract: a task's own subclass serves batches and computes losses.

    Attributes:
        loader: serves the training split.
        metric: what the epoch is chosen by; None where there is no validation split, or the last epoch is kept.
    """

    defaults: ClassVar[Mapping[str, Any]] = {}
    """Settings of `fit` whose defaults are others for this task."""

    loader: Batches[BatchT]
    metric: str | None

    @abstractmethod
    def __init__(
        self, data: DataT, student: nn.Module, objective: Objective, settings: FitSettings, device: torch.device
    ) -> None: ...

    @classmethod
    def choose_memory_format(cls, choice: MemoryFormat, student: nn.Module) -> torch.memory_format:
        """How weights lie in memory; see `drkd.training.compilation`."""
        return choose_memory_format(choice, student)

    @classmethod
    def backbone_of(cls, student: nn.Module) -> nn.Module | None:
        """What `--freeze backbone` keeps as it is: the rest is the classifier. None: the last linear layer is."""
        del student
        return None

    def wrap(self) -> None:
        """Make what calls the student anew: other parameters of it learn from now on."""

    @abstractmethod
    def losses(self, batch: BatchT) -> StepLosses:
        """The student's losses on a batch, with gradients."""

    @abstractmethod
    def forward(self, network: nn.Module, batch: BatchT) -> object:
        """The pass of `network`, the student or a copy of it, through a batch as it is trained on."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """The student's metrics on the validation split, named `val_...`; nothing where that is empty."""
