"""The methods: those of the two papers, and their neighbours."""

from drkd.methods.clean_view import dr_kd_clean_view, kd_clean_view, tf_kd_self_clean_view
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
    "CLEAN_VIEW",
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
]

METHODS = (
    *(cross_entropy, label_smoothing, kd, tf_kd_self, tf_kd_reg, dr_kd),
    *(ps_kd, online_dr_kd, ols, max_sup, cs_kd, dlb),
    *(kd_clean_view, tf_kd_self_clean_view, dr_kd_clean_view),
)
"""Every method that can be asked for by name."""

SELF_TAUGHT = (tf_kd_self, dr_kd, tf_kd_self_clean_view, dr_kd_clean_view)
"""The methods whose teacher is the student's own trained copy."""

CLEAN_VIEW = (kd_clean_view, tf_kd_self_clean_view, dr_kd_clean_view)
"""The methods whose teacher sees un-augmented images."""

TWICE = (cs_kd, dlb)
"""The methods whose batches hold every sample twice."""
