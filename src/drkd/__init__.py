"""drkd: a better classifier or detector without a bigger teacher.

The network trains once, a frozen copy of it becomes its own teacher, the teacher's mistakes are rectified with the
labels, and a fresh copy is distilled from it (DR-KD, arXiv 2201.11319; Tf-KD, arXiv 1909.11723).

Names are imported when they are first used, so that `import drkd` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "drkd.comparison": ("Comparison", "compare"),
    "drkd.data": ("Data", "Split", "load_data"),
    "drkd.errors": ("InputError", "NonFiniteLossError"),
    "drkd.losses": ("kl_divergence", "soft_cross_entropy"),
    "drkd.methods": (
        "cross_entropy",
        "dr_kd",
        "kd",
        "label_smoothing",
        "online_dr_kd",
        "ps_kd",
        "tf_kd_reg",
        "tf_kd_self",
    ),
    "drkd.metrics": ("Metrics", "evaluate"),
    "drkd.models": ("create_model",),
    "drkd.objective": ("Objective", "Term"),
    "drkd.rectify": ("swap",),
    "drkd.storage": ("load_model",),
    "drkd.self_distillation": ("SelfDistillation", "self_distill"),
    "drkd.targets": ("Ema", "Frozen", "Memory", "OneHot", "Rectified", "Target", "Uniform", "Virtual"),
    "drkd.checkpoint": ("Done",),
    "drkd.train": ("fit",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME_OF]  # noqa: PLE0604

if TYPE_CHECKING:
    from drkd.errors import InputError as InputError


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'drkd' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
