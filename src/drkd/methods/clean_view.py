"""The papers' distillation with a teacher that sees every image once, un-augmented: cheaper, and other methods.

The student sees augmented images as usual, and learns what the teacher predicts for the plain ones. Notation as in
`papers.py`; w are the teacher's logits on the plain image. "A good teacher is patient and consistent" (arXiv
2106.05237) calls this a fixed teacher, and finds it worse than one that sees what the student sees.
"""

from collections.abc import Callable
from typing import Unpack

from torch import Tensor

from drkd.methods.papers import ALPHA, TEMPERATURE, distil
from drkd.methods.registry import method
from drkd.objective.objective import Objective, ObjectiveOptions
from drkd.targets import CleanView, Rectified, Rectifier

PAGE = "docs/methods/clean_view.md"


@method(label="KD, clean view", colour="#bc9fd1", clean_view=True, page=PAGE)
def kd_clean_view(
    teacher: Callable[..., Tensor],
    alpha: float = ALPHA,
    temperature: float = TEMPERATURE,
    **options: Unpack[ObjectiveOptions],
) -> Objective:
    """`kd` from un-augmented images: (1 - a) CE(y, p) + a T^2 CE(softmax_T(w), softmax_T(z)).

    Arguments as for `kd`.

    Example:
        >>> import torch
        >>> sorted(kd_clean_view(torch.nn.Linear(2, 3)).needs)
        ['index']
    """
    return distil("kd_clean_view", CleanView(teacher), alpha, temperature, "batchmean", 1.0, options)


@method(label="Tf-KD_self, clean view", colour="#7fcbb0", self_taught=True, clean_view=True, page=PAGE)
def tf_kd_self_clean_view(
    teacher: Callable[..., Tensor],
    alpha: float = ALPHA,
    temperature: float = TEMPERATURE,
    **options: Unpack[ObjectiveOptions],
) -> Objective:
    """`tf_kd_self` from un-augmented images: (1 - a) CE(y, p) + a T^2 CE(softmax_T(w), softmax_T(z)).

    Arguments as for `kd`.

    Example:
        >>> import torch
        >>> list(tf_kd_self_clean_view(torch.nn.Linear(2, 3)).effective_weights(num_classes=3))
        ['ce', 'soft']
    """
    return distil("tf_kd_self_clean_view", CleanView(teacher), alpha, temperature, "batchmean", 1.0, options)


@method(label="DR-KD, clean view", colour="#f0a878", self_taught=True, clean_view=True, page=PAGE)
def dr_kd_clean_view(
    teacher: Callable[..., Tensor],
    alpha: float = ALPHA,
    temperature: float = TEMPERATURE,
    *,
    rectify: Rectifier = "swap",
    **options: Unpack[ObjectiveOptions],
) -> Objective:
    """`dr_kd` from un-augmented images: (1 - a) CE(y, p) + a T^2 CE(softmax_T(swap(w, y)), softmax_T(z)).

    Arguments as for `dr_kd`. The teacher errs less on plain images, so less is rectified.

    Example:
        >>> import torch
        >>> dr_kd_clean_view(torch.nn.Linear(2, 3)).name
        'dr_kd_clean_view'
    """
    target = Rectified(CleanView(teacher), rectify)
    return distil("dr_kd_clean_view", target, alpha, temperature, "batchmean", 1.0, options)
