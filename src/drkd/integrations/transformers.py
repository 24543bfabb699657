"""Hugging Face's `Trainer`: a loss for the plain one, and one that knows teachers and sample numbers.

`Trainer` adds up the losses of an accumulated step, so each is divided by the items of the whole step, not by those of
its own batch. Validation measures plain cross-entropy, whatever the method, and teaches the objective nothing.
"""

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from drkd.integrations.common import (
    Logits,
    SkippedSteps,
    changes,
    check_mixed,
    check_objective,
    logits_of,
    need_index,
    read_learned,
    validation_loss,
    write_learned,
)
from drkd.methods import cross_entropy, dr_kd
from drkd.objective.objective import Objective
from drkd.objective.protocol import end_step
from drkd.training.loop import warn_if_nothing_was_rectified
from drkd.utils.checks import IGNORED
from drkd.utils.errors import InputError, NonFiniteLossError
from drkd.utils.files import read_tensors, write_tensors

try:
    from transformers import PreTrainedModel, Trainer, TrainerCallback, set_seed
    from transformers.trainer_utils import get_last_checkpoint
except ModuleNotFoundError as missing:
    raise ImportError(f"drkd.integrations.transformers needs {missing.name}; install drkd[transformers]") from missing

LEARNED = "objective.safetensors"
"""What an objective has learned, in each checkpoint of the Trainer."""

SELF_TEACHER = "self_teacher.safetensors"
"""The weights of a self-teacher whose training is finished."""


def loss(objective: Objective) -> "Loss":
    """An objective as the `compute_loss_func` of a `Trainer`.

    Args:
        objective: one that needs neither inputs nor index, such as `drkd.label_smoothing()` or `drkd.tf_kd_reg()`. One
            that changes during training (`drkd.max_sup()`, `drkd.ols()`) must be passed to the Trainer twice, as
            `compute_loss_func` and among the `callbacks`.

    Raises:
        InputError: for an objective that needs a teacher's inputs or samples' numbers: use `SelfDistillationTrainer`.

    Example:
        >>> import drkd
        >>> smoothed = loss(drkd.label_smoothing(0.1))
        >>> smoothed({"logits": torch.zeros(2, 4)}, torch.tensor([0, 1]), num_items_in_batch=8)
        tensor(0.3466)
    """
    if objective.needs & {"inputs", "index"}:
        raise InputError(
            f"`{objective.name}` needs {' and '.join(sorted(objective.needs))}, which a compute_loss_func does not "
            "get; use drkd.integrations.transformers.SelfDistillationTrainer"
        )
    return Loss(objective)


class Loss(SkippedSteps, TrainerCallback):
    """An objective as a `Trainer` knows it: a function of outputs and labels, and a callback; made by `loss`.

    Called with outputs that have `logits` (B, K), labels (B,) or (B, K), and `num_items_in_batch`, it returns the loss,
    divided by that number. As a callback it moves the schedules, lets the targets learn after each step that was made,
    keeps what they have learned in the Trainer's checkpoints, and stops a training whose loss is not finite.
    """

    def __init__(self, objective: Objective) -> None:
        self.resume_from: Path | None = None  # the folder of the Trainer's checkpoint, where it is not the usual one
        self.sums: dict[str, tuple[Tensor, Tensor]] = {}  # and the rows of each: a term of weight 0 has only some parts
        self.attached = False
        self.use(objective)

    def use(self, objective: Objective) -> None:
        """Train with this objective from now on."""
        check_objective(objective, "a Trainer", provides=frozenset({"inputs", "index"}))
        if getattr(objective, "ignore_index", IGNORED) != IGNORED:
            raise InputError(
                f"a Trainer counts every label but {IGNORED}, `{objective.name}` ignores {objective.ignore_index}; "
                f"mark rows that do not count with {IGNORED}"
            )
        self.objective = objective
        self.validation = validation_loss(objective)

    def __call__(
        self,
        outputs: Any,
        labels: Tensor | None,
        num_items_in_batch: Tensor | int | None = None,
        *,
        inputs: Mapping[str, Tensor] | None = None,
        index: Tensor | None = None,
    ) -> Tensor:
        if labels is None:
            raise InputError(f"`{self.objective.name}` needs labels, the batch has no `labels`; add them to each row")
        logits = logits_of(outputs)
        rows = (labels != IGNORED).sum()  # of distributions a Trainer counts all numbers, and so do we
        items = rows if num_items_in_batch is None else torch.as_tensor(num_items_in_batch).flatten()[0]
        share: Tensor = rows / items.clamp(min=1)
        if not torch.is_grad_enabled():
            return cast(Tensor, self.validation(logits, labels)["loss"]) * share
        if not self.attached and changes(self.objective):
            raise InputError(
                f"`{self.objective.name}` changes during training and does not see the steps; pass the same loss to "
                "the Trainer twice: compute_loss_func=loss, callbacks=[loss]"
            )
        check_mixed(self.objective, labels)
        losses: dict[str, Tensor] = self.objective(logits, labels, inputs=inputs, index=index)
        for name, value in losses.items():
            total, counted = self.sums.get(name, (torch.zeros_like(value), torch.zeros_like(rows)))
            self.sums[name] = total + value.detach() * rows, counted + rows
        return losses["loss"] * share

    def means(self) -> dict[str, float]:
        """The mean over rows of every part of the loss since the last time; empties them.

        Raises:
            NonFiniteLossError: if the loss is NaN or infinite; on the CPU the objective itself stops at once.
        """
        means = {name: total.item() / max(1, rows.item()) for name, (total, rows) in self.sums.items()}
        self.sums = {}
        if not math.isfinite(means.get("loss", 0.0)):
            raise NonFiniteLossError(f"the loss of `{self.objective.name}` is NaN or infinite; lower the learning rate")
        return means

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **others: Any) -> None:
        self.attached = True
        self.sums = {}
        self.objective.to(args.device).train()
        self.objective.reset()
        if state.global_step:
            folder = self.resume_from or Path(args.output_dir) / f"checkpoint-{state.global_step}"
            read_learned(self.objective, folder / LEARNED, args.device)
            if not (args.fsdp or args.deepspeed):
                _read_weights(model, folder)

    def on_step_end(self, args: Any, state: Any, control: Any, optimizer: Any = None, **others: Any) -> None:
        made, progress = not self.was_skipped(optimizer), state.global_step / state.max_steps
        end_step(self.objective, made=made, progress=min(1.0, progress), epoch=int(state.epoch))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
        if "loss" in (logs or {}):  # a row about training, not about validation
            self.means()

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **others: Any) -> None:
        if args.load_best_model_at_end and state.best_model_checkpoint and not (args.fsdp or args.deepspeed):
            _read_weights(model, Path(state.best_model_checkpoint))

    def on_save(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.is_world_process_zero:
            path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / LEARNED
            write_learned(self.objective, path)


class SelfDistillationTrainer(Trainer):
    """A `Trainer` that does the whole recipe: train the plain network, freeze a copy, train the student.

    Args:
        model: the network, which becomes the student. Its rows are mappings with `labels`; all else goes to the model,
            and to the teacher.
        args: the `TrainingArguments`, of both trainings.
        method: from the teacher to an objective, such as `drkd.dr_kd` or `functools.partial(drkd.dr_kd, alpha=0.5)`:
            `train()` then first trains a copy of the model with cross-entropy, under `self_teacher/` in the output
            directory, from the same weights and seed. Or a finished objective, which is trained with as it is: give it
            a teacher as `Logits(model)`.
        trainer: everything else that a `Trainer` takes. Callbacks are copied for the self-teacher's training.

    Attributes:
        self_teacher: the trained self-teacher, None before.

    Methods that remember samples (`drkd.ps_kd()`) need rows with their number: `drkd.integrations.Indexed(dataset)`
    and `TrainingArguments(remove_unused_columns=False)`.

    Raises:
        InputError: for batches without labels or a number that is needed, and for objectives that want batches of
            their own.
    """

    label_names: list[str]

    def __init__(
        self,
        model: nn.Module,
        args: Any,
        *,
        method: Callable[[nn.Module], Objective] | Objective = dr_kd,
        callbacks: list[Any] | None = None,
        **trainer: Any,
    ) -> None:
        objective = cast(Objective, method) if isinstance(method, nn.Module) else None
        self.method = None if objective is not None else cast(Callable[[nn.Module], Objective], method)
        if self.method is not None and trainer.get("optimizers", (None, None)) != (None, None):
            raise InputError(
                "two networks are trained, and `optimizers` holds the weights of one; pass optimizer_cls_and_kwargs, "
                "or an objective with a teacher"
            )
        self.distilling = Loss(objective or cross_entropy())
        self.self_teacher: nn.Module | None = None
        self._given = {"callbacks": callbacks or [], **trainer}
        ours = [*(callbacks or []), self.distilling]
        super().__init__(model, args, callbacks=ours, compute_loss_func=self.distilling, **trainer)
        if not self.label_names:  # a model that is none of transformers' names none
            self.label_names = ["labels"]
        if self.args.label_smoothing_factor:
            raise InputError(
                f"label_smoothing_factor={self.args.label_smoothing_factor} would be a second loss; leave it at 0, and "
                "pass method=drkd.label_smoothing(...) for label smoothing"
            )
        if self.args.n_gpu > 1:
            raise InputError(
                f"one process for {self.args.n_gpu} GPUs divides batches that the teacher must see whole; start with "
                "torchrun, or set CUDA_VISIBLE_DEVICES to one of them"
            )

    def train(self, resume_from_checkpoint: str | bool | None = None, **others: Any) -> Any:
        if self.method is not None:
            self.self_teacher = self._train_self_teacher(bool(resume_from_checkpoint))
            self.distilling.use(self.method(Logits(self.self_teacher)))
            set_seed(self.args.seed)
        if resume_from_checkpoint is True:
            resume_from_checkpoint = _newest(self.args.output_dir, required=self.method is None)
        self.distilling.resume_from = Path(resume_from_checkpoint) if resume_from_checkpoint else None
        result = super().train(resume_from_checkpoint, **others)
        if history := [row for row in self.state.log_history if "rectified" in row]:
            warn_if_nothing_was_rectified(self.distilling.objective.name, history)
        return result

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        batch = {name: value for name, value in inputs.items() if name not in ("labels", "index")}
        if torch.is_grad_enabled():
            how = " and set TrainingArguments(remove_unused_columns=False)"
            need_index(self.distilling.objective, inputs.get("index"), how)
        outputs = model(**batch)
        value = self.distilling(
            outputs, inputs.get("labels"), num_items_in_batch, inputs=batch, index=inputs.get("index")
        )
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            value = value * self.accelerator.num_processes  # the mean over processes follows
        named = outputs if isinstance(outputs, Mapping) else {"logits": logits_of(outputs)}
        return (value, named) if return_outputs else value

    def log(self, logs: dict[str, float], *args: Any, **others: Any) -> None:
        if "loss" in logs:  # a row about training: add its parts
            logs = {**self.distilling.means(), **logs}
        super().log(logs, *args, **others)

    def _train_self_teacher(self, resume: bool) -> nn.Module:
        """A copy of the model, trained with cross-entropy, or read if that was done before."""
        args = copy.deepcopy(self.args)
        args.output_dir = str(Path(self.args.output_dir) / "self_teacher")
        given = {**self._given, "callbacks": copy.deepcopy(self._given["callbacks"])}
        teacher = SelfDistillationTrainer(copy.deepcopy(self.model), args, method=cross_entropy(), **given)
        path = Path(args.output_dir) / SELF_TEACHER
        if resume and path.is_file():
            teacher.model.load_state_dict(read_tensors(path))
        else:
            path.unlink(missing_ok=True)
            teacher.train(resume_from_checkpoint=_newest(args.output_dir) if resume else None)
            if teacher.is_world_process_zero():
                write_tensors(path, teacher.model.state_dict(), {"network": "self_teacher"})
        model: nn.Module = teacher.model
        return model


def _newest(folder: str, *, required: bool = False) -> str | None:
    """The newest checkpoint in a folder; None if there is none, an error if it is `required`."""
    newest: str | None = get_last_checkpoint(folder) if Path(folder).is_dir() else None
    if newest is None and required:
        raise InputError(f"there is no checkpoint to resume from in {folder}; train without resume_from_checkpoint")
    return newest


def _read_weights(model: nn.Module, folder: Path) -> None:
    """Read a model's weights again, by the names that the file has.

    A Trainer looks for the model's own and only warns of those that are missing: ViT is saved under older ones.
    """
    model = getattr(model, "module", model)
    if isinstance(model, PreTrainedModel):
        model.load_state_dict(type(model).from_pretrained(folder).state_dict())
