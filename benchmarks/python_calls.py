"""Python calls for fuzz.py: the public functions and classes, methods and targets, with odd arguments.

What is public comes from `drkd.__all__`, methods and their settings from the registry, options of trainings from the
configurations. A call begins with arguments that are sound and small, by the names of the parameters; one to three of
them become odd.
"""

import inspect
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import drkd
import drkd.tasks.detection
from drkd import config
from drkd.methods.registry import all_methods
from drkd.runs.training import train
from drkd.targets.base import ask
from drkd.targets.rectify import RECTIFIERS
from drkd.tasks import segmentation

RESULTS = {name for name in drkd.__all__ if name.endswith(("Error", "Results", "Result", "Summary", "Metrics"))}
NOT_CALLED = {
    *RESULTS,
    *("__version__", "Comparison", "Reproduction", "Tuned", "SelfDistillation", "ModelInfo", "Tolerance"),
    *("Data", "Split", "StudentBatch", "TargetOutput", "Target", "Cached"),
}
"""Records, which anybody may fill with anything, and what is called with others below."""

LONG = {"epochs", "seeds", "trials", "rounds", "calls", "jobs", "devices", "num_nodes", "batch_sizes", "hours"}
"""What a large number only makes take longer; what takes minutes, or another machine, is left out."""

LEFT_OUT = {"compile", "launcher", "send", "clock", "download", "data_options"}


def rows(count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 2), torch.arange(count) % 3


SOUND: Mapping[str, Callable[[], Any]] = {
    "logits": lambda: torch.randn(4, 3),
    "student_logits": lambda: torch.randn(4, 3),
    "target_logits": lambda: torch.randn(4, 3),
    "labels": lambda: torch.tensor([0, 1, 2, 0]),
    "index": lambda: torch.arange(4),
    "inputs": lambda: torch.randn(4, 2),
    "teacher": lambda: nn.Linear(2, 3),
    "student": lambda: nn.Linear(2, 3),
    "network": lambda: nn.Linear(2, 3),
    "model": lambda: nn.Linear(2, 3),
    "objective": drkd.cross_entropy,
    "target": drkd.Uniform,
    "terms": lambda: [drkd.Term(drkd.OneHot(), name="ce")],
    "function": lambda: lambda logits: logits.sum(dim=1),
    "data": lambda: drkd.from_tensors(rows(12), rows(6), validation=0.0),
    "train": lambda: rows(12),
    "test": lambda: rows(6),
    "samples": lambda: None,
    "name": lambda: "ce",
    "num_classes": lambda: 3,
    "image_size": lambda: 8,
    "source": lambda: "run",
    "run": lambda: "run",
    "path": lambda: Path("run"),
    "sources": lambda: ["run"],
    "root": lambda: Path("cache"),
    "belongs_to": dict,
    "limit": lambda: 1000,
}
"""Arguments by the names of their parameters."""

TRAINING = {"model": "mlp", "limit_train": 20, "limit_test": 20, "epochs": 1, "batch_size": 10, "threads": 1}
SMALL: Mapping[str, Mapping[str, Any]] = {
    "fit": {"epochs": 1, "batch_size": 4},
    "self_distill": {"epochs": 1, "batch_size": 4},
    "compare": {**TRAINING, "data": "digits", "methods": ["ps_kd"], "seeds": 1, "jobs": 1, "label_noise": [0.0]},
    "tune": {**TRAINING, "data": "digits", "methods": ["ps_kd"], "trials": 1, "jobs": 1},
    "reproduce": {"name": "dr_kd/cifar100/mobilenetv2-dr_kd", "miniature": True, "seeds": 1, "jobs": 1},
    "create_model": {"name": "mlp"},
    "tasks.detection.create_detector": {"name": "small_ssd"},
    "load_data": {"name": "digits", "limit_train": 20},
    "bench_files": {"calls": 1},
    "export_run": {"samples": 10, "format": "torch"},
}
"""What keeps a call small, or makes it sound."""

NUMBERS = (0, -1, 1, 3, 0.5, 1.5, -0.1, 1e-320, 1e308, float("nan"), float("inf"), 2**70, -(2**70), True, 1j)
THINGS: tuple[Callable[[], Any], ...] = (
    *(partial(lambda value: value, value) for value in (*NUMBERS, *NUMBERS, None, None, None)),
    *(
        partial(lambda value: value, value)
        for value in ("", "x", "digits", "é\x1b[31m", "a\0b", "x" * 5000, b"x", "-1")
    ),
    *(list, dict, set, object, lambda: [None], lambda: [1, 2], lambda: (0, 1), lambda: ["a", "a"], lambda: [[]]),
    *(lambda: Path("missing"), Path, lambda: {"a": 1}, lambda: print, lambda: int, lambda: range(3)),
    *(lambda: np.arange(4), lambda: np.zeros((4, 3), dtype=np.float32), lambda: np.float64(0.5), lambda: np.int64(2)),
    *(lambda: nn.Linear(2, 3), lambda: nn.Linear(5, 1), nn.Identity, drkd.cross_entropy, drkd.ps_kd, drkd.OneHot),
    *(lambda: torch.zeros(()), lambda: torch.tensor([1.0, 2.0], requires_grad=True), lambda: torch.device("cpu")),
    *(lambda: lambda _: None, lambda: lambda _: torch.zeros(4, 3), lambda: torch.float16),
)
"""Odd in any place."""

TENSORS: tuple[Callable[[], Any], ...] = (
    *(partial(torch.zeros, shape) for shape in ((4, 3), (0, 3), (4, 0), (0,), (4,), (3, 4), (4, 3, 2), (1, 3), (4, 1))),
    *(partial(torch.full, (4, 3), value) for value in (float("nan"), float("inf"), -float("inf"), 1e38, -1e30)),
    *(partial(torch.ones, (4, 3), dtype=kind) for kind in (torch.float16, torch.bfloat16, torch.float64, torch.int64)),
    *(partial(torch.ones, (4, 3), dtype=kind) for kind in (torch.bool, torch.uint8, torch.complex64)),
    *(partial(torch.ones, (4,), dtype=kind) for kind in (torch.uint8, torch.int8, torch.int32, torch.bool, torch.half)),
    *(
        partial(torch.tensor, values)
        for values in ([0, 1, 2, 3], [0, -1, 1, 2], [-100] * 4, [0, -100, 1, 2], [2**62] * 4)
    ),
    *(partial(torch.tensor, values) for values in ([0.0, 1.0, 2.0, 0.0], [[0, 1, 2, 0]], [0, 0, 0, 0], [7, 8, 9, 7])),
    *(lambda: torch.zeros(4, 3).to_sparse(), lambda: torch.zeros(4, 3, device="meta"), lambda: torch.ones(4, 3).t()),
)
"""Odd where a tensor is wanted."""


@dataclass(frozen=True)
class Function:
    """Something to call: its name, and sound arguments by name; of the others the names alone."""

    name: str
    call: Callable[..., Any]
    sound: Mapping[str, Callable[[], Any]]
    others: tuple[str, ...]


@dataclass
class Call:
    """A call whose arguments are made when it is made."""

    function: Function
    odd: dict[str, Callable[[], Any]] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)

    def described(self) -> str:
        odd = ", ".join(f"{name}={_short(make())}" for name, make in self.odd.items())
        return f"{self.function.name}({odd})" + "".join(f" without {name}" for name in sorted(self.left_out))

    def make(self) -> Any:
        torch.manual_seed(0)
        torch.set_num_threads(1)
        values = {**self.function.sound, **self.odd}
        return self.function.call(**{name: make() for name, make in values.items() if name not in self.left_out})


def functions() -> list[Function]:
    """Everything that is called."""
    found = {name: getattr(drkd, name) for name in drkd.__all__ if name not in NOT_CALLED}
    found |= {f"tasks.detection.{name}": getattr(drkd.tasks.detection, name) for name in ("create_detector", "measure")}
    found |= {"tasks.detection.load_detection": drkd.tasks.detection.load_detection}
    found |= {"tasks.segmentation.mean_iou": segmentation.mean_iou, "HubModel": drkd.HubModel.from_pretrained}
    found |= {f"targets.rectify.{name}": function for name, function in RECTIFIERS.items()}
    made = [_function(name, function) for name, function in found.items()]
    batch = {name: SOUND[name] for name in ("logits", "labels", "inputs", "index")}
    for name in all_methods():
        made += 2 * [Function(f"{name}()", partial(_ask_objective, name), batch, ("reduction",))]
    for name in ("Uniform", "Virtual", "Frozen", "Memory", "ClassMean", "LastBatch", "Partner", "CleanView", "Ema"):
        made.append(Function(f"{name}()", partial(_ask_target, name), batch, ()))
        made.append(Function(f"Rectified({name}())", partial(_ask_target, name, rectified=True), batch, ()))
    made.append(Function("objective.update", lambda **values: drkd.ps_kd().update(**values), {}, ("progress", "epoch")))
    made.append(Function("objective.prepare", lambda **values: drkd.ps_kd().prepare(**values), {}, ("samples",)))
    weights = {"num_classes": SOUND["num_classes"]}
    made.append(
        Function(
            "effective_weights", lambda **values: drkd.kd(nn.Linear(2, 3)).effective_weights(**values), weights, ()
        )
    )
    made.append(Function("Split.select", SOUND["data"]().train.select, {"index": SOUND["index"]}, ()))
    return made


def _function(name: str, function: Callable[..., Any]) -> Function:
    """A function with sound arguments for what it needs, and for what keeps it small."""
    parameters = inspect.signature(function).parameters.values()
    sound = {p.name: SOUND[p.name] for p in parameters if p.default is p.empty and p.name in SOUND}
    sound |= {key: partial(lambda value: value, value) for key, value in SMALL.get(name, {}).items()}
    if name == "reproduce":
        sound.pop("data", None)
    others = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        others |= _keywords(name)
    return Function(name, function, sound, tuple(sorted(others - LEFT_OUT)))


def _keywords(name: str) -> set[str]:
    """What `**options` of a function takes."""
    kinds = {"fit": config.FitSettings, "self_distill": config.FitSettings, "reproduce": config.ReproduceConfig}
    kinds |= {"compare": config.CompareConfig, "tune": config.TuneConfig}
    return set(kinds[name].model_fields) if name in kinds else {"reduction", "ignore_index"}


def random_call(rng: random.Random, known: list[Function]) -> Call:
    """A call of any function with up to three odd arguments."""
    call = Call(rng.choice(known))
    names = [*call.function.sound, *call.function.others]
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3)) if names else 0):
        name = rng.choice(names)
        value = _odd(name, rng)
        if name not in LEFT_OUT and not (name in LONG and _is_large(value())):
            call.odd[name] = value
    if rng.random() < 0.05:
        call.odd["nonsense"] = lambda: 1
    if rng.random() < 0.05 and call.function.sound:
        call.left_out.add(rng.choice(sorted(call.function.sound)))
    return call


def _odd(name: str, rng: random.Random) -> Callable[[], Any]:
    sound = SOUND.get(name)
    if sound is not None and isinstance(sound(), Tensor) and rng.random() < 0.7:
        return rng.choice(TENSORS)
    return rng.choice((*THINGS, *THINGS, *TENSORS[:6], *SOUND.values()))


def _is_large(value: Any) -> bool:
    try:
        return float(value) > 2
    except (TypeError, ValueError, RuntimeError):
        return isinstance(value, list | range | tuple)


def _ask_objective(name: str, **batch: Any) -> Any:
    """A method's answer, and what it learns of it."""
    info = all_methods()[name]
    objective = info.make(SOUND["teacher"]()) if info.teacher != "none" else info.make()
    losses = objective(**batch)
    if losses["loss"].requires_grad:
        losses["loss"].sum().backward()
    objective.update(progress=0.5, epoch=1)
    return objective(**batch)


def _ask_target(name: str, rectified: bool = False, **batch: Any) -> Any:
    kind = getattr(drkd, name)
    target = kind(SOUND["teacher"]()) if name in ("Frozen", "CleanView", "Ema") else kind()
    return ask(drkd.Rectified(target) if rectified else target, drkd.StudentBatch(**batch))


def set_up(root: Path) -> None:
    """Make the run that calls are about."""
    train(*config.resolve(config.TrainConfig, {**TRAINING, "method": "cross_entropy"}), root / "run")


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{tuple(value.shape)}"
    text = f"array{value.shape}" if isinstance(value, np.ndarray) else repr(value)
    return text if len(text) < 60 else f"{text[:50]}..."
