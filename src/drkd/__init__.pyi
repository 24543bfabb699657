"""The public names of drkd, in groups, written once: `__init__.py` reads this list, and so do type checkers."""

from drkd._version import __version__ as __version__

"""Recipes"""

from drkd.runs.results import ComparisonResults as ComparisonResults
from drkd.runs.summary import RunSummary as RunSummary
from drkd.studies.comparison import Comparison as Comparison
from drkd.studies.comparison import compare as compare
from drkd.studies.ranking import Suspects as Suspects
from drkd.studies.reproduction import Reproduction as Reproduction
from drkd.studies.reproduction import reproduce as reproduce
from drkd.studies.suspects import find_suspects as find_suspects
from drkd.studies.tuning import Tuned as Tuned
from drkd.studies.tuning import tune as tune
from drkd.training.checkpoint import TrainResult as TrainResult
from drkd.training.features import extract_features as extract_features
from drkd.training.fit import fit as fit
from drkd.training.self_distillation import SelfDistillation as SelfDistillation
from drkd.training.self_distillation import self_distill as self_distill

"""Methods"""

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

"""The equation"""

from drkd.objective.objective import Objective as Objective
from drkd.objective.terms import Penalty as Penalty
from drkd.objective.terms import Term as Term

"""Targets"""

from drkd.targets import Cached as Cached
from drkd.targets import ClassMean as ClassMean
from drkd.targets import CleanView as CleanView
from drkd.targets import CrossFitted as CrossFitted
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
from drkd.targets.teacher_cache import TeacherCache as TeacherCache
from drkd.utils.labels import MixedLabels as MixedLabels

"""Arithmetic"""

from drkd.objective.losses import kl_divergence as kl_divergence
from drkd.objective.losses import soft_cross_entropy as soft_cross_entropy
from drkd.targets.rectify import swap as swap

"""Data, networks, metrics"""

from drkd.data import Data as Data
from drkd.data import Split as Split
from drkd.data import as_data as as_data
from drkd.data import from_tensors as from_tensors
from drkd.data import load_data as load_data
from drkd.data.preprocessing import Preprocessing as Preprocessing
from drkd.models import create_model as create_model
from drkd.models.files import ModelInfo as ModelInfo
from drkd.models.starts import Start as Start
from drkd.models.starts import find_start as find_start
from drkd.tasks.loading import load_model as load_model
from drkd.training.calibration import fit_temperature as fit_temperature
from drkd.training.metrics import Metrics as Metrics
from drkd.training.metrics import evaluate as evaluate

"""Export"""

from drkd.export.exporting import export_run as export_run
from drkd.export.hub import push_run as push_run
from drkd.export.hub_model import HubModel as HubModel
from drkd.export.latency import bench_files as bench_files
from drkd.export.parity import Tolerance as Tolerance
from drkd.export.predicting import predict_files as predict_files
from drkd.export.runtimes import open_session as open_session
from drkd.tasks.answers import BoxOptions as BoxOptions
from drkd.tasks.answers import FoundBox as FoundBox
from drkd.tasks.answers import FoundMask as FoundMask
from drkd.tasks.answers import Prediction as Prediction

"""Errors"""

from drkd.utils.errors import InputError as InputError
from drkd.utils.errors import NonFiniteLossError as NonFiniteLossError
from drkd.utils.errors import ParityError as ParityError
from drkd.utils.errors import StorageError as StorageError
