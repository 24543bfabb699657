"""The run's configuration, validated."""

from drkd.config.fields import as_bytes
from drkd.config.options import (
    DETECTION,
    EMBEDDED,
    METHOD_SETTINGS,
    STANDARD,
    WITHOUT_EFFECT,
    BenchConfig,
    CompareConfig,
    ReproduceConfig,
    TrainConfig,
    TrainingConfig,
    TuneConfig,
)
from drkd.config.resolving import as_yaml, differences, read_options, resolve

__all__ = [
    "DETECTION",
    "EMBEDDED",
    "METHOD_SETTINGS",
    "STANDARD",
    "WITHOUT_EFFECT",
    "BenchConfig",
    "CompareConfig",
    "ReproduceConfig",
    "TrainConfig",
    "TrainingConfig",
    "TuneConfig",
    "as_bytes",
    "as_yaml",
    "differences",
    "read_options",
    "resolve",
]
