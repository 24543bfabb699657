"""Where the time of a DR-KD step goes: `python benchmarks/speed.py --profile MODEL`."""

import os
from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function

from drkd.config import BenchConfig
from drkd.studies.contenders import Contender
from drkd.targets import Frozen


def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` under a name that the profile shows."""

    def recorded(*arguments: Any, **options: Any) -> Any:
        with record_function(name):
            return function(*arguments, **options)

    return recorded


def print_profile(config: BenchConfig) -> None:
    """Where a DR-KD step's time goes: its phases, then the operators that take most."""
    contender = Contender("dr_kd", config)
    state = contender.state
    (frozen,) = (part for part in state.objective.modules() if isinstance(part, Frozen))
    frozen.forward = named("teacher forward", frozen.forward)
    state.objective.forward = named("objective", state.objective.forward)
    state.objective.update = named("update", state.objective.update)
    learner = contender.stepper.learner
    learner.model = named("student forward", learner.model)
    state.optimizer.step = named("optimizer", state.optimizer.step)
    for _ in range(2):
        contender.step()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # nothing of the profiler's own on standard error
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for _ in range(config.rounds):
            named("step", contender.step)()
    table = recorded.key_averages()
    total = {event.key: event.cpu_time_total / 1e3 / config.rounds for event in table}
    phases = {name: total[name] for name in ("student forward", "teacher forward", "optimizer", "update")}
    phases["loss"] = total["objective"] - total["teacher forward"]
    phases["backward and the rest"] = total["step"] - sum(phases.values())
    print(f"{config.model}, a DR-KD step of {total['step']:.1f} ms:")
    for name, taken in phases.items():
        print(f"  {name:<22} {taken:>8.1f} ms {100 * taken / total['step']:>5.1f}%")
    print(table.table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=50))
