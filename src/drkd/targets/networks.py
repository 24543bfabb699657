"""Targets that ask a network: a frozen one, or a running average of the student."""

import copy
import logging
import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from drkd.targets.base import Samples, StudentBatch, Target, TargetOutput
from drkd.targets.folding import fold_batch_norms, largest_difference, tolerance
from drkd.targets.precision import ROWS, TeacherPrecision, Tolerance, computing_in, why_not_bfloat16
from drkd.utils.arguments import check_arguments
from drkd.utils.checks import check_choice, check_fraction, check_logits
from drkd.utils.distributed import copy_from_rank_0
from drkd.utils.errors import InputError
from drkd.utils.hashing import content_hash

log = logging.getLogger(__name__)

Teacher = Callable[..., Tensor] | nn.Module | Target
"""What can teach: a network, any callable from inputs to logits, or a target."""


class Frozen(Target):
    """A fixed network.

    Args:
        teacher: any callable from inputs to logits. An `nn.Module` is copied; the copy is in eval mode and frozen, and
            your module does not change. Any other callable is used as it is. Both run without gradients.
        fold: fold batch norms into the layers before them, if that changes no output (`drkd.targets.folding`).
        precision: float32, or bfloat16 if that keeps its answers; by default that of the training. A plain callable is
            asked as it is.
        kept_within: what counts as keeping its answers.

    Attributes:
        identity: SHA-256 of the teacher's original state, None for a plain callable.
        folded: whether the network in use has its batch norms folded.
        precision: in which it is asked; None is that of the training.

    Raises:
        InputError: for a teacher that cannot be called; at a call, if it returns no tensor of logits.

    The first call with samples compares the folded copy with the original, on the inputs of that call, because a
    network's input is unknown before. Then one of the two is dropped: the copy if an output differs by more than 3.5e-4
    of the largest logit (in half precision, by more than rounding explains), else the original.

    bfloat16 is compared with float32 when `drkd.fit` prepares a training, on the first training samples without
    augmentation, so a resumed one chooses alike; in your own loop at the first call. If the answers differ by more than
    `kept_within`, it warns and asks in float32. The teacher moves with `.to()` but is not part of `state_dict()`.

    Example:
        >>> target = Frozen(nn.Linear(2, 3))
        >>> logits = target(StudentBatch(torch.zeros(1, 3), torch.tensor([0]), inputs=torch.zeros(1, 2))).logits
        >>> logits.shape, logits.requires_grad, list(target.state_dict())
        (torch.Size([1, 3]), False, [])
    """

    needs = frozenset({"inputs"})

    def __init__(
        self,
        teacher: Callable[..., Tensor],
        *,
        fold: bool = True,
        precision: TeacherPrecision | None = None,
        kept_within: Tolerance | None = None,
    ) -> None:
        super().__init__()
        check_arguments(Frozen.__init__, {"fold": fold})
        if precision is not None:
            check_choice("precision", precision, ("float32", "bfloat16"))
        self.asked_for, self.kept_within = precision, kept_within or Tolerance()
        self.precision: TeacherPrecision | None = None
        self.identity: str | None = None
        self.folded = False
        if not callable(teacher):
            wanted = "a network, a function from inputs to logits, or a target"
            raise InputError(f"a teacher must be {wanted}, got {teacher!r}; load a run's network with drkd.load_model")
        if isinstance(teacher, nn.Module):
            self.precision = precision
            self.identity = state_hash(teacher)
            teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        # In a tuple, nn.Module does not see them: no state, no train(), no parameters. The last one is asked; before it
        # is the original, until the first call.
        self._outside: tuple[Callable[..., Tensor], ...] = (teacher,)
        self._unchecked = self.precision == "bfloat16"
        if isinstance(teacher, nn.Module) and fold:
            folded = _folded(teacher)
            self.folded = folded is not None
            self._outside = (teacher,) if folded is None else (teacher, folded)

    @property
    def network(self) -> Callable[..., Tensor]:
        """What is asked: the frozen copy of a module, or the callable. It is no submodule of this target."""
        return self._outside[-1]

    @property
    def original(self) -> Callable[..., Tensor]:
        """What was given, a module as its frozen copy; from the first call on `network`."""
        return self._outside[0]

    def forward(self, batch: StudentBatch) -> TargetOutput:
        return TargetOutput(self.answer(batch.inputs))

    def answer(self, inputs: Any) -> Tensor:
        """The network's logits, without gradient."""
        if len(self._outside) > 1:
            self._choose(inputs)
        if self.precision is not None and not isinstance(inputs, Tensor):
            raise InputError(
                f"a teacher with a precision of its own needs a tensor of inputs, got {type(inputs).__name__}; leave "
                "the precision out"
            )
        if self._unchecked:
            self._check_precision(inputs)
        if self.precision is None:  # a context that does nothing takes time too
            logits = _asked(self.network, inputs, f"the teacher {_name(self.network)}")
        else:
            with computing_in(self.precision, inputs.device.type):
                logits = _asked(self.network, inputs, f"the teacher {_name(self.network)}")
        return check_logits(logits, f"the teacher {_name(self.network)} must return").detach()

    def prepare(self, samples: Samples) -> None:
        """Compare bfloat16 with float32 on the first samples, if it is to be asked in bfloat16."""
        if self.asked_for == "bfloat16" and isinstance(self.network, nn.Module):
            for batch in samples.batches():
                self._unchecked = True
                self.answer(batch.inputs[:ROWS])
                break

    def _check_precision(self, inputs: Tensor) -> None:
        """Ask in bfloat16 from now on if that keeps the answers, else in float32."""
        if not len(inputs):  # a rank without samples
            return
        self._unchecked = False
        why = why_not_bfloat16(cast(nn.Module, self.network), inputs, self.kept_within)
        self.precision = "float32" if why else "bfloat16"
        if why:
            name = _name(self.network)
            warnings.warn(f"the teacher {name} runs in float32, because in bfloat16 {why}", stacklevel=2)

    def _choose(self, inputs: Any) -> None:
        """Keep the folded network if it answers like the original one, else the original."""
        original, folded = cast("tuple[nn.Module, nn.Module]", self._outside)
        try:
            difference = largest_difference(original, folded, inputs)
        except Exception as reason:  # of code that folding broke; if it is the original's own, its next call raises it
            self.folded, why = False, f"running both fails ({reason})"
        else:
            if difference is None:  # a rank without samples
                return
            self.folded = difference <= tolerance(original)
            why = f"its outputs would change by {difference:.2g} of the largest logit"
        self._outside = (folded if self.folded else original,)
        if not self.folded:
            log.warning("batch norms of the teacher %s are not folded: %s", _name(original), why)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen":
        for network in self._outside:
            if isinstance(network, nn.Module):
                network._apply(fn)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class Ema(Target):
    """A running average of the student's own weights, as in Mean Teacher (arXiv 1703.01780).

    The decay is `min(1 - 1 / (updates + 1), decay)`: the average follows the student closely at first. Batch-norm
    statistics are averaged too, and the average is evaluated in eval mode.

    Args:
        student: the network in training. It is watched, not owned: its weights are not part of this target's state.
        decay: fraction of the average that each update keeps, in [0, 1].
    """

    needs = frozenset({"inputs"})

    def __init__(self, student: nn.Module, decay: float = 0.99) -> None:
        super().__init__()
        check_fraction("decay", decay)
        self.decay = decay
        if not isinstance(student, nn.Module):
            raise InputError(f"`Ema` averages a network, got {type(student).__name__}; pass the student")
        self._outside = (student,)  # in a tuple, nn.Module does not see it
        self.average = copy.deepcopy(student).eval().requires_grad_(False)
        self.updates: Tensor
        self.register_buffer("updates", torch.zeros((), dtype=torch.float64))
        self._made = 0  # the buffer's value, where reading it stalls no accelerator
        places = list(zip(_places(self.average), _places(student), strict=True))
        self._averaged = [(ours, theirs) for ours, theirs in places if ours[0][ours[1]].is_floating_point()]
        self._copied = [(ours, theirs) for ours, theirs in places if not ours[0][ours[1]].is_floating_point()]

    @property
    def student(self) -> nn.Module:
        """The network that is averaged. It is no submodule of this target."""
        return self._outside[0]

    def forward(self, batch: StudentBatch) -> TargetOutput:
        logits = _asked(self.average, batch.inputs, "the averaged student")
        return TargetOutput(check_logits(logits, "the averaged student must return"))

    def train(self, mode: bool = True) -> "Ema":
        super().train(mode)
        self.average.eval()
        return self

    def reset(self) -> None:
        self.average.load_state_dict(self.student.state_dict())
        self.updates.zero_()
        self._made = 0

    @torch.no_grad()
    def update(self, epoch: int = 0) -> None:
        self._made += 1
        self.updates.fill_(self._made)
        copy_from_rank_0(self.student.buffers())  # batch norms see their own rank's samples: those of rank 0 count
        averages = [ours[name] for (ours, name), _ in self._averaged]
        news = [theirs[name] for _, (theirs, name) in self._averaged]
        torch._foreach_lerp_(averages, news, max(1 / (self._made + 1), 1 - self.decay))
        for (ours, name), (theirs, _) in self._copied:  # such as a batch norm's count
            ours[name].copy_(theirs[name])

    def average_of(self, network: nn.Module) -> nn.Module | None:
        """The average of `network`, which is the student or a part of it; None where it is neither.

        Example:
            >>> student = nn.Sequential(nn.Linear(2, 3))
            >>> ema = Ema(student)
            >>> ema.average_of(student[0]) is ema.average[0], ema.average_of(nn.Linear(2, 3))
            (True, None)
        """
        found = zip(self.student.modules(), self.average.modules(), strict=True)
        return next((ours for theirs, ours in found if theirs is network), None)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._made = int(self.updates)


def as_target(teacher: Teacher) -> Target:
    """A teacher as what it teaches."""
    return teacher if isinstance(teacher, Target) else Frozen(teacher)


def state_hash(module: nn.Module) -> str:
    """SHA-256 over the names, shapes, types and bytes of a module's state: the identity of a teacher.

    Example:
        >>> state_hash(nn.ReLU())[:8]
        'e3b0c442'
    """
    return content_hash(module.state_dict())


def _places(module: nn.Module) -> list[tuple[dict[str, Tensor], str]]:
    """Where a module holds its tensors, each of them once: to walk through all modules takes longer than to average.

    Tensors may be replaced there, as `.to()` does with buffers; the dictionaries stay.
    """
    found: dict[int, tuple[dict[str, Tensor], str]] = {}
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    found.setdefault(id(tensor), (cast("dict[str, Tensor]", tensors), name))
    return list(found.values())


def _asked(network: Callable[..., Tensor], inputs: Any, who: str) -> Any:
    """A network's output for inputs; those that it cannot take are refused, its other errors are its own."""
    try:
        with torch.no_grad():
            return network(inputs)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as reason:  # what torch raises for shapes and types
        came = (
            f"{str(inputs.dtype).removeprefix('torch.')} {tuple(inputs.shape)}"
            if isinstance(inputs, Tensor)
            else type(inputs).__name__
        )
        first = str(reason).partition("\n")[0]
        raise InputError(f"{who} cannot take inputs {came}: {first}; give it what it was trained on") from reason


def _folded(network: nn.Module) -> nn.Module | None:
    """`network` with its batch norms folded; None where there are none, or where it cannot be traced."""
    try:
        return fold_batch_norms(network)
    except Exception as reason:  # tracing runs the module's own code, which may raise anything
        log.info("batch norms of the teacher %s are not folded: %s", _name(network), reason)
        return None


def _name(teacher: Callable[..., Tensor]) -> str:
    return type(teacher).__name__ if isinstance(teacher, nn.Module) else getattr(teacher, "__name__", str(teacher))
