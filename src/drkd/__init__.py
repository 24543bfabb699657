"""drkd: a better classifier or detector without a bigger teacher.

The network trains once, a frozen copy of it becomes its own teacher, the teacher's mistakes are rectified with the
labels, and a fresh copy is distilled from it (DR-KD, arXiv 2201.11319; Tf-KD, arXiv 1909.11723).

Names are imported when they are first used, so that `import drkd` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from drkd._version import __version__

_HOMES = {
    "drkd.training.checkpoint": ("TrainResult",),
    "drkd.studies.comparison": ("Comparison", "compare"),
    "drkd.studies.tuning": ("Tuned", "tune"),
    "drkd.data": ("Data", "Split", "from_tensors", "load_data"),
    "drkd.export.exporting": ("export_run",),
    "drkd.export.hub": ("push_run",),
    "drkd.export.hub_model": ("HubModel",),
    "drkd.export.latency": ("bench_files",),
    "drkd.export.parity": ("Tolerance",),
    "drkd.export.runtimes": ("open_session",),
    "drkd.utils.errors": ("InputError", "NonFiniteLossError", "ParityError", "StorageError"),
    "drkd.objective.losses": ("kl_divergence", "soft_cross_entropy"),
    "drkd.methods": (
        "cross_entropy",
        "cs_kd",
        "dlb",
        "dr_kd",
        "dr_kd_clean_view",
        "kd",
        "kd_clean_view",
        "label_smoothing",
        "max_sup",
        "ols",
        "online_dr_kd",
        "ps_kd",
        "tf_kd_reg",
        "tf_kd_self",
        "tf_kd_self_clean_view",
    ),
    "drkd.training.metrics": ("Metrics", "evaluate"),
    "drkd.models": ("create_model",),
    "drkd.models.loading": ("load_model",),
    "drkd.objective.objective": ("Objective",),
    "drkd.targets.rectify": ("swap",),
    "drkd.studies.reproduction": ("Reproduction", "reproduce"),
    "drkd.training.self_distillation": ("SelfDistillation", "self_distill"),
    "drkd.targets": (
        *("Cached", "ClassMean", "CleanView", "Ema", "Frozen", "LastBatch", "Memory", "OneHot", "Partner"),
        *("Rectified", "StudentBatch", "Target", "TargetOutput", "Uniform", "Virtual"),
    ),
    "drkd.targets.teacher_cache": ("TeacherCache",),
    "drkd.objective.terms": ("Penalty", "Term"),
    "drkd.training.fit": ("fit",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME_OF]  # noqa: PLE0604

if TYPE_CHECKING:  # the same names, for type checkers and editors
    from drkd.data import Data as Data
    from drkd.data import Split as Split
    from drkd.data import from_tensors as from_tensors
    from drkd.data import load_data as load_data
    from drkd.export.exporting import export_run as export_run
    from drkd.export.hub import push_run as push_run
    from drkd.export.hub_model import HubModel as HubModel
    from drkd.export.latency import bench_files as bench_files
    from drkd.export.parity import Tolerance as Tolerance
    from drkd.export.runtimes import open_session as open_session
    from drkd.methods import cross_entropy as cross_entropy
    from drkd.methods import cs_kd as cs_kd
    from drkd.methods import dlb as dlb
    from drkd.methods import dr_kd as dr_kd
    from drkd.methods import dr_kd_clean_view as dr_kd_clean_view
    from drkd.methods import kd as kd
    from drkd.methods import kd_clean_view as kd_clean_view
    from drkd.methods import label_smoothing as label_smoothing
    from drkd.methods import max_sup as max_sup
    from drkd.methods import ols as ols
    from drkd.methods import online_dr_kd as online_dr_kd
    from drkd.methods import ps_kd as ps_kd
    from drkd.methods import tf_kd_reg as tf_kd_reg
    from drkd.methods import tf_kd_self as tf_kd_self
    from drkd.methods import tf_kd_self_clean_view as tf_kd_self_clean_view
    from drkd.models import create_model as create_model
    from drkd.models.loading import load_model as load_model
    from drkd.objective.losses import kl_divergence as kl_divergence
    from drkd.objective.losses import soft_cross_entropy as soft_cross_entropy
    from drkd.objective.objective import Objective as Objective
    from drkd.objective.terms import Penalty as Penalty
    from drkd.objective.terms import Term as Term
    from drkd.studies.comparison import Comparison as Comparison
    from drkd.studies.comparison import compare as compare
    from drkd.studies.reproduction import Reproduction as Reproduction
    from drkd.studies.reproduction import reproduce as reproduce
    from drkd.studies.tuning import Tuned as Tuned
    from drkd.studies.tuning import tune as tune
    from drkd.targets import Cached as Cached
    from drkd.targets import ClassMean as ClassMean
    from drkd.targets import CleanView as CleanView
    from drkd.targets import Ema as Ema
    from drkd.targets import Frozen as Frozen
    from drkd.targets import LastBatch as LastBatch
    from drkd.targets import Memory as Memory
    from drkd.targets import OneHot as OneHot
    from drkd.targets import Partner as Partner
    from drkd.targets import Rectified as Rectified
    from drkd.targets import StudentBatch as StudentBatch
    from drkd.targets import Target as Target
    from drkd.targets import TargetOutput as TargetOutput
    from drkd.targets import Uniform as Uniform
    from drkd.targets import Virtual as Virtual
    from drkd.targets.rectify import swap as swap
    from drkd.targets.teacher_cache import TeacherCache as TeacherCache
    from drkd.training.checkpoint import TrainResult as TrainResult
    from drkd.training.fit import fit as fit
    from drkd.training.metrics import Metrics as Metrics
    from drkd.training.metrics import evaluate as evaluate
    from drkd.training.self_distillation import SelfDistillation as SelfDistillation
    from drkd.training.self_distillation import self_distill as self_distill
    from drkd.utils.errors import InputError as InputError
    from drkd.utils.errors import NonFiniteLossError as NonFiniteLossError
    from drkd.utils.errors import ParityError as ParityError
    from drkd.utils.errors import StorageError as StorageError


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'drkd' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
