"""The methods: those of the two papers, and their neighbours."""

from drkd.methods.clean_view import dr_kd_clean_view, kd_clean_view, tf_kd_self_clean_view
from drkd.methods.info import MethodInfo
from drkd.methods.neighbours import cs_kd, dlb, max_sup, ols, online_dr_kd, ps_kd
from drkd.methods.papers import (
    ALPHA,
    TEMPERATURE,
    Convention,
    cross_entropy,
    dr_kd,
    kd,
    label_smoothing,
    tf_kd_reg,
    tf_kd_self,
)
from drkd.methods.registry import all_methods, get_method, method
from drkd.targets import Teacher

__all__ = [
    "ALPHA",
    "TEMPERATURE",
    "Convention",
    "MethodInfo",
    "Teacher",
    "all_methods",
    "cross_entropy",
    "cs_kd",
    "dlb",
    "dr_kd",
    "dr_kd_clean_view",
    "get_method",
    "kd",
    "kd_clean_view",
    "label_smoothing",
    "max_sup",
    "method",
    "ols",
    "online_dr_kd",
    "ps_kd",
    "tf_kd_reg",
    "tf_kd_self",
    "tf_kd_self_clean_view",
]
