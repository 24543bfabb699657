"""The methods: those of the two papers, and their neighbours."""

from drkd.methods.neighbours import cs_kd, dlb, max_sup, ols, online_dr_kd, ps_kd
from drkd.methods.papers import (
    ALPHA,
    TEMPERATURE,
    Convention,
    Teacher,
    cross_entropy,
    dr_kd,
    kd,
    label_smoothing,
    tf_kd_reg,
    tf_kd_self,
)

__all__ = [
    "ALPHA",
    "METHODS",
    "SELF_TAUGHT",
    "TEMPERATURE",
    "TWICE",
    "Convention",
    "Teacher",
    "cross_entropy",
    "cs_kd",
    "dlb",
    "dr_kd",
    "kd",
    "label_smoothing",
    "max_sup",
    "ols",
    "online_dr_kd",
    "ps_kd",
    "tf_kd_reg",
    "tf_kd_self",
]

METHODS = (
    *(cross_entropy, label_smoothing, kd, tf_kd_self, tf_kd_reg, dr_kd),
    *(ps_kd, online_dr_kd, ols, max_sup, cs_kd, dlb),
)
"""Every method that can be asked for by name."""

SELF_TAUGHT = (tf_kd_self, dr_kd)
"""The methods whose teacher is the student's own trained copy."""

TWICE = (cs_kd, dlb)
"""The methods whose batches hold every sample twice."""
