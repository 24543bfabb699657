"""The run's configuration, validated."""

from drkd.config.commented import as_commented_yaml
from drkd.config.effects import was_given
from drkd.config.fields import as_average, as_bytes
from drkd.config.groups import (
    METHOD_SETTINGS,
    CheckpointOptions,
    FitSettings,
    OptimizerOptions,
    ScheduleOptions,
)
from drkd.config.options import (
    CONFIGS,
    DETECTION,
    EMBEDDED,
    SEGMENTATION,
    STANDARD,
    WITHOUT_EFFECT,
    BenchConfig,
    BoxConfig,
    CompareConfig,
    ExportConfig,
    ReproduceConfig,
    TrainConfig,
    TrainingConfig,
    TuneConfig,
)
from drkd.config.resolving import did_you_mean, read_options, resolve, validated
from drkd.config.written import as_yaml, differences, read_record, read_written

__all__ = [
    "CONFIGS",
    "DETECTION",
    "EMBEDDED",
    "METHOD_SETTINGS",
    "SEGMENTATION",
    "STANDARD",
    "WITHOUT_EFFECT",
    "BenchConfig",
    "BoxConfig",
    "CheckpointOptions",
    "CompareConfig",
    "ExportConfig",
    "FitSettings",
    "OptimizerOptions",
    "ReproduceConfig",
    "ScheduleOptions",
    "TrainConfig",
    "TrainingConfig",
    "TuneConfig",
    "as_average",
    "as_bytes",
    "as_commented_yaml",
    "as_yaml",
    "did_you_mean",
    "differences",
    "read_options",
    "read_record",
    "read_written",
    "resolve",
    "validated",
    "was_given",
]
