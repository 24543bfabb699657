"""Targets: who teaches, and when."""

from drkd.targets.base import Samples, StudentBatch, Target, TargetOutput
from drkd.targets.batches import LastBatch, Partner
from drkd.targets.cached import Cached, CleanView
from drkd.targets.class_mean import ClassMean
from drkd.targets.cross_fitted import CrossFitted
from drkd.targets.memory import Memory
from drkd.targets.networks import Ema, Frozen, Teacher, as_target, state_hash
from drkd.targets.rectified import Rectified, Rectifier
from drkd.targets.rules import OneHot, Uniform, Virtual

__all__ = [
    "Cached",
    "ClassMean",
    "CleanView",
    "CrossFitted",
    "Ema",
    "Frozen",
    "LastBatch",
    "Memory",
    "OneHot",
    "Partner",
    "Rectified",
    "Rectifier",
    "Samples",
    "StudentBatch",
    "Target",
    "TargetOutput",
    "Teacher",
    "Uniform",
    "Virtual",
    "as_target",
    "state_hash",
]
