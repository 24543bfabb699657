"""Neighbours that need no second network: the student's own past, its classes, its batches, its logits.

Notation as in `papers.py`. Each function names its paper and has that paper's settings as defaults.
"""

from typing import Literal, Unpack

from torch import nn

from drkd.methods.papers import ALPHA, TEMPERATURE, distil
from drkd.methods.registry import method
from drkd.objective.losses import max_over_mean
from drkd.objective.objective import Objective, ObjectiveOptions
from drkd.objective.schedules import AlphaSchedule, Complement, Growing, Linear
from drkd.objective.terms import Penalty, Term
from drkd.targets import ClassMean, Ema, LastBatch, Memory, OneHot, Partner, Rectified, Rectifier, Target
from drkd.targets.memory import Keep
from drkd.utils.checks import check_count, check_fraction, check_not_negative, check_temperature
from drkd.utils.errors import InputError


@method(label="PS-KD", colour="#cc79a7")
def ps_kd(
    alpha: float = 0.8, *, epochs: int | None = None, keep: Keep = "full", **options: Unpack[ObjectiveOptions]
) -> Objective:
    """PS-KD (arXiv 2006.12000): the student's own last prediction for the sample, increasingly weighted.

    (1 - a_t) CE(y, p) + a_t CE(p_last, p), where a_t grows linearly to `alpha`. Samples not yet visited are plain CE.

    Args:
        alpha: final weight of the soft target.
        epochs: length of the training, for the published staircase a (e + 1) / E; else a_t = a * progress.
        keep: what is remembered of a sample, see `drkd.Memory`: `full`, `half`, or a number of logits.

    Example:
        >>> sorted(ps_kd().needs)
        ['index']
    """
    check_fraction("alpha", alpha)
    if epochs is not None:
        check_count("epochs", epochs)
    weight = Growing(alpha, epochs)
    terms = [Term(OneHot(), Complement(weight), name="ce"), Term(Memory(keep=keep), weight, name="soft")]
    return Objective("ps_kd", terms, **options)


@method(label="Online DR-KD", colour="#e69f00")
def online_dr_kd(
    alpha: float = ALPHA,
    temperature: float = TEMPERATURE,
    *,
    source: Literal["memory", "ema"] | Target = "memory",
    student: nn.Module | None = None,
    decay: float | None = None,
    rectify: Rectifier = "swap",
    keep: Keep | None = None,
    alpha_schedule: AlphaSchedule = "constant",
    **options: Unpack[ObjectiveOptions],
) -> Objective:
    """Online DR-KD (ours): rectify the student's own past, so that no pretraining and no second network is needed.

    (1 - a) CE(y, p) + a T^2 CE(softmax_T(swap(w, y)), softmax_T(z)), where w are the student's logits at its last visit
    of the sample (`source="memory"`, with `keep` as in `drkd.Memory`) or those of a running average of it
    (`source=Ema(student)`, or `source="ema"` with `student` and `decay`).

    Example:
        >>> import torch
        >>> student = torch.nn.Linear(2, 3)
        >>> sorted(online_dr_kd().needs), sorted(online_dr_kd(source=Ema(student)).needs)
        (['index'], ['inputs'])
    """
    if not isinstance(source, Target) and not (isinstance(source, str) and source in ("memory", "ema")):
        raise InputError(
            f'`online_dr_kd` needs source="memory", "ema" or a target such as Ema(student), got {source!r}'
        )
    if decay is not None and source != "ema":
        raise InputError("online_dr_kd has a decay only with source=ema; choose that source, or leave decay out")
    if keep is not None and source != "memory":
        raise InputError("online_dr_kd can keep logits only with source=memory; choose it, or leave keep out")
    if source == "ema":
        if student is None:
            raise InputError('online_dr_kd with source="ema" needs the student that is trained')
        source = Ema(student) if decay is None else Ema(student, decay)
    target = Memory(keep=keep or "full") if source == "memory" else source
    rectified = Rectified(target, rectify)
    return distil(
        "online_dr_kd", rectified, alpha, temperature, "batchmean", 1.0, options, alpha_schedule=alpha_schedule
    )


@method(label="OLS", colour="#117733")
def ols(alpha: float = 0.5, **options: Unpack[ObjectiveOptions]) -> Objective:
    """Online label smoothing (arXiv 2011.12562): the mean prediction for the class over the last epoch teaches.

    (1 - a) CE(y, p) + a CE(S[y], p), where S[c] is the mean of p over the samples of class c that were predicted
    correctly in the last epoch; uniform in the first epoch and for a class without any.

    Example:
        >>> import torch
        >>> list(ols()(torch.zeros(1, 3), torch.tensor([0])))
        ['loss', 'ce', 'soft', 'soft_kl']
    """
    check_fraction("alpha", alpha)
    terms = [Term(OneHot(), 1 - alpha, name="ce"), Term(ClassMean(), alpha, name="soft")]
    return Objective("ols", terms, **options)


@method(label="MaxSup", colour="#332288")
def max_sup(weight: float = 0.2, *, initial_weight: float = 0.1, **options: Unpack[ObjectiveOptions]) -> Objective:
    """MaxSup (arXiv 2502.15798): label smoothing's penalty on the largest logit in place of the label's.

    CE(y, p) + w (max_k z_k - mean_k z_k), where w changes linearly from `initial_weight` to `weight` over the training.

    Example:
        >>> import torch
        >>> max_sup()(torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([0]))["max"]
        tensor(0.2000)
    """
    for name, value in (("weight", weight), ("initial_weight", initial_weight)):
        check_not_negative(name, value)
    penalty = Penalty(max_over_mean, Linear(initial_weight, weight), name="max")
    return Objective("max_sup", [Term(OneHot(), name="ce"), penalty], **options)


@method(label="CS-KD", colour="#882255", doubles_batch=True)
def cs_kd(weight: float = 1.0, temperature: float = 4.0, **options: Unpack[ObjectiveOptions]) -> Objective:
    """CS-KD (arXiv 2003.13964): a sample learns from the student's prediction for another one of its class.

    CE(y, p) + w T^2 CE(softmax_T(z'), softmax_T(z)), where z' are the student's logits for the partner, without
    gradient. It wants batches of pairs, which the loader makes: a batch has twice the samples (`drkd.data.loader`).

    Example:
        >>> import torch
        >>> sorted(cs_kd().needs), list(cs_kd()(torch.zeros(2, 3), torch.tensor([0, -100])))
        (['pairs'], ['loss', 'ce', 'soft', 'soft_kl'])
    """
    return _added("cs_kd", Partner(), weight, temperature, options)


@method(label="DLB", colour="#999933", doubles_batch=True)
def dlb(weight: float = 1.0, temperature: float = 3.0, **options: Unpack[ObjectiveOptions]) -> Objective:
    """DLB (arXiv 2203.16172): the student's logits at the last step teach the same samples, seen anew, at this one.

    CE(y, p) over the last batch and the new one + w T^2 CE(softmax_T(z_last), softmax_T(z)) over the last one. The
    loader puts the last batch, in a second view, before the new one (`drkd.data.loader`).

    Example:
        >>> sorted(dlb().needs)
        ['index', 'replay']
    """
    return _added("dlb", LastBatch(), weight, temperature, options)


def _added(name: str, target: Target, weight: float, temperature: float, options: ObjectiveOptions) -> Objective:
    """CE(y, p) + w T^2 CE(softmax_T(target), softmax_T(z)), the latter over the rows that have a target."""
    check_temperature("temperature", temperature)
    check_not_negative("weight", weight)
    soft = Term(
        target,
        weight,
        name="soft",
        scale=temperature**2,
        target_temperature=temperature,
        student_temperature=temperature,
        without_target="nothing",
    )
    return Objective(name, [Term(OneHot(), name="ce"), soft], **options)
