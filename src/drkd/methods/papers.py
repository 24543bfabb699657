"""The methods of the two papers, one function each: which targets teach, with which weights.

Notation of the papers: z student logits, v teacher logits, y label, p = softmax(z), T temperature, a alpha.
CE(q, p) = -sum_k q_k log p_k, and softmax(./T) is written with an index T.

`convention="reference"` gives the numbers of the papers' public code: the KL divergence divided by K, times
`multiplier`; see docs/differences.md. Every function also takes `reduction` and `ignore_index` (`Objective`). The
equation is in `objective.py`, the neighbours of these methods in `neighbours.py`.
"""

from collections.abc import Callable
from typing import Literal, Unpack

from torch import Tensor

from drkd.methods.registry import method
from drkd.objective.objective import Objective, ObjectiveOptions
from drkd.objective.schedules import AlphaSchedule, weights_of
from drkd.objective.terms import Term
from drkd.targets import OneHot, Rectified, Rectifier, Target, Teacher, Uniform, Virtual, as_target
from drkd.targets.rectify import swap
from drkd.utils.checks import check_choice, check_fraction, check_positive, check_temperature
from drkd.utils.errors import InputError

Convention = Literal["batchmean", "reference"]

ALPHA = 0.3
"""Default weight of the soft target, chosen on validation splits; see docs/defaults.md."""

TEMPERATURE = 1.0
"""Default temperature, chosen on validation splits; see docs/defaults.md."""


@method(label="Cross-entropy", colour="#444444")
def cross_entropy(**options: Unpack[ObjectiveOptions]) -> Objective:
    """Plain cross-entropy with the labels: CE(y, p).

    Example:
        >>> import torch
        >>> cross_entropy()(torch.zeros(2, 4), torch.tensor([0, 1]))["loss"]
        tensor(1.3863)
    """
    return Objective("cross_entropy", [Term(OneHot(), name="ce")], **options)


@method(label="Label smoothing", colour="#0072b2")
def label_smoothing(
    epsilon: float = 0.1, *, convention: Convention = "batchmean", **options: Unpack[ObjectiveOptions]
) -> Objective:
    """Label smoothing (arXiv 1512.00567): (1 - e) CE(y, p) + e CE(1/K, p).

    The public code spreads e over the K - 1 wrong classes only: `convention="reference"`, for e below 1.

    Example:
        >>> import torch
        >>> label_smoothing(0.1)(torch.zeros(2, 4), torch.tensor([0, 1]))["loss"]
        tensor(1.3863)
    """
    check_fraction("epsilon", epsilon)
    if is_reference(convention, 1.0) and epsilon > 0:
        if epsilon == 1:
            raise InputError(
                'epsilon must be below 1 with convention="reference", got 1: it would rule the label out; lower it'
            )
        return Objective("label_smoothing", [Term(Virtual(1 - epsilon), name="smoothing")], **options)
    terms = [Term(OneHot(), 1 - epsilon, name="ce"), Term(Uniform(), epsilon, name="smoothing")]
    return Objective("label_smoothing", terms, **options)


@method(label="KD", colour="#7a5195")
def kd(
    teacher: Teacher,
    alpha: float = ALPHA,
    temperature: float = TEMPERATURE,
    *,
    convention: Convention = "batchmean",
    multiplier: float = 1.0,
    alpha_schedule: AlphaSchedule = "constant",
    **options: Unpack[ObjectiveOptions],
) -> Objective:
    """Knowledge distillation from any network (Tf-KD, arXiv 1909.11723, Eq. 4, with the T^2 of its code).

    (1 - a) CE(y, p) + a T^2 CE(softmax_T(v), softmax_T(z)). A stronger teacher makes it normal KD, a weaker network
    Re-KD, a poorly trained one De-KD.

    Args:
        teacher: a module (copied, frozen, set to eval), any callable from inputs to logits, or a target.
        alpha: weight of the soft target, in [0, 1].
        temperature: T, above 0.
        convention, multiplier: see the module's text.
        alpha_schedule: `constant`; `linear` or `cosine`, from alpha to 0 over the training; `rising`, from 0 to alpha.

    Example:
        >>> import torch
        >>> objective = kd(torch.nn.Linear(2, 3), alpha=0.5, temperature=4.0)
        >>> losses = objective(torch.zeros(1, 3), torch.tensor([0]), inputs=torch.ones(1, 2))
        >>> list(losses)
        ['loss', 'ce', 'soft', 'soft_kl']
    """
    return distil(
        "kd", as_target(teacher), alpha, temperature, convention, multiplier, options, alpha_schedule=alpha_schedule
    )


@method(label="Tf-KD_self", colour="#009e73", self_taught=True)
def tf_kd_self(
    teacher: Teacher,
    alpha: float = ALPHA,
    temperature: float = TEMPERATURE,
    *,
    convention: Convention = "batchmean",
    multiplier: float = 1.0,
    alpha_schedule: AlphaSchedule = "constant",
    **options: Unpack[ObjectiveOptions],
) -> Objective:
    """Tf-KD_self (arXiv 1909.11723): `kd` in which the teacher is the student's own trained copy.

    (1 - a) CE(y, p) + a T^2 CE(softmax_T(v), softmax_T(z)); arguments as for `kd`.

    Example:
        >>> import torch
        >>> sorted(tf_kd_self(torch.nn.Linear(2, 3)).needs)
        ['inputs']
    """
    return distil(
        "tf_kd_self",
        as_target(teacher),
        alpha,
        temperature,
        convention,
        multiplier,
        options,
        alpha_schedule=alpha_schedule,
    )


@method(label="Tf-KD_reg", colour="#56b4e9")
def tf_kd_reg(
    correct_prob: float = 0.99,
    alpha: float = ALPHA,
    temperature: float = TEMPERATURE,
    *,
    convention: Convention = "batchmean",
    multiplier: float = 1.0,
    alpha_schedule: AlphaSchedule = "constant",
    **options: Unpack[ObjectiveOptions],
) -> Objective:
    """Tf-KD_reg (arXiv 1909.11723): a virtual teacher u with `correct_prob` on the label, the rest spread evenly.

    (1 - a) CE(y, p) + a T^2 CE(softmax_T(log u), softmax_T(z)). The public code uses another formula:
    (1 - a) CE(y, p) + a m KL(softmax(u / T) || p) / K, with no T^2 and no temperature on the student.

    Example:
        >>> import torch
        >>> list(tf_kd_reg()(torch.zeros(1, 3), torch.tensor([0])))
        ['loss', 'ce', 'soft', 'soft_kl']
    """
    if not is_reference(convention, multiplier):
        return distil(
            "tf_kd_reg",
            Virtual(correct_prob),
            alpha,
            temperature,
            convention,
            multiplier,
            options,
            alpha_schedule=alpha_schedule,
        )
    check_fraction("alpha", alpha)
    check_temperature("temperature", temperature)
    virtual = Virtual(correct_prob, probs_as_logits=True)
    of_labels, weight = weights_of(alpha, alpha_schedule)
    soft = Term(virtual, weight, name="soft", scale=multiplier, target_temperature=temperature, class_mean=True)
    return Objective("tf_kd_reg", [Term(OneHot(), of_labels, name="ce"), soft], **options)


@method(label="DR-KD", colour="#d55e00", self_taught=True)
def dr_kd(
    teacher: Teacher,
    alpha: float = ALPHA,
    temperature: float = TEMPERATURE,
    *,
    rectify: Rectifier = "swap",
    student_swap: bool = False,
    convention: Convention = "batchmean",
    multiplier: float = 1.0,
    alpha_schedule: AlphaSchedule = "constant",
    **options: Unpack[ObjectiveOptions],
) -> Objective:
    """DR-KD (arXiv 2201.11319): Tf-KD_self whose self-teacher is rectified with the label before it teaches.

    (1 - a) CE(y, p) + a T^2 CE(softmax_T(swap(v, y)), softmax_T(z)). Where the self-teacher is always right it equals
    `tf_kd_self`. With another teacher it is `kd` with rectified targets.

    Args:
        teacher, alpha, temperature, convention, multiplier, alpha_schedule: as for `kd`.
        rectify: what corrects the teacher's logits: `swap`, `bayes` or `bayes:WRONG`, `smooth`, `drop` or a
            function; see `drkd.targets.rectify`.
        student_swap: swap the student's logits too, in both terms; an ablation of the public code, which raises the
            wrong class on misclassified samples. Accuracies use the unswapped logits.

    Example:
        >>> import torch
        >>> wrong = lambda inputs: torch.tensor([[0.0, 9.0, 0.0]])
        >>> dr_kd(wrong)(torch.zeros(1, 3), torch.tensor([0]), inputs=torch.ones(1, 2))["rectified"]
        tensor(1.)
    """
    target = Rectified(as_target(teacher), rectify)
    rectify_student = swap if student_swap else None
    return distil("dr_kd", target, alpha, temperature, convention, multiplier, options, rectify_student, alpha_schedule)


def distil(
    name: str,
    target: Target,
    alpha: float,
    temperature: float,
    convention: Convention,
    multiplier: float,
    options: ObjectiveOptions,
    rectify_student: Callable[[Tensor, Tensor], Tensor] | None = None,
    alpha_schedule: AlphaSchedule = "constant",
) -> Objective:
    """(1 - a) CE(y, p) + a T^2 CE(softmax_T(target), softmax_T(z)): what all distillation here has in common."""
    check_fraction("alpha", alpha)
    check_temperature("temperature", temperature)
    reference = is_reference(convention, multiplier)
    of_labels, of_target = weights_of(alpha, alpha_schedule)
    soft = Term(
        target,
        of_target,
        name="soft",
        scale=temperature**2 * multiplier,
        target_temperature=temperature,
        student_temperature=temperature,
        class_mean=reference,
        averaged_in_public=True,
    )
    terms = [Term(OneHot(), of_labels, name="ce"), soft]
    return Objective(name, terms, rectify_student=rectify_student, **options)


def is_reference(convention: Convention, multiplier: float) -> bool:
    """Whether the public code's numbers are asked for."""
    check_choice("convention", convention, ("batchmean", "reference"))
    check_positive("multiplier", multiplier)
    if convention == "batchmean" and multiplier != 1.0:
        raise InputError(f'multiplier needs convention="reference", got {multiplier} without it; raise alpha instead')
    return convention == "reference"
