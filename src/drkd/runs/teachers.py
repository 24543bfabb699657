"""A teacher that is given: another run, or a file of weights. One that is trained first is made in `training.py`."""

import warnings
from pathlib import Path

from torch import nn

from drkd.config import TrainConfig
from drkd.models.files import ModelInfo, model_file
from drkd.models.weights import NewTensors
from drkd.runs.building import model_info
from drkd.tasks import TaskData, get_task
from drkd.tasks.loading import load_model
from drkd.utils.errors import InputError


def load_teacher(source: str, config: TrainConfig, data: TaskData) -> nn.Module:
    """A teacher from a run directory, from drkd's own file, or from a file of weights of the student's network.

    It takes the student's images: a teacher that wants them of another size or normalisation sees to that itself.

    Raises:
        InputError: for a teacher of another task, other classes or other channels, and for teachers of folds.
    """
    if folds := sorted(Path(source).glob("fold-1-of-*")):
        count = folds[0].name.rpartition("-")[2]
        raise InputError(f"--teacher {source} holds the teachers of folds: add --teacher-folds {count}")
    expected = model_info(config, data)
    try:
        teacher, info = load_model(source)
    except InputError:
        if Path(source).is_dir() or not model_file(source).is_file():
            raise
        return _from_weights(source, config, expected)
    for name in ("task", "classes", "channels"):
        theirs, ours = getattr(info, name), getattr(expected, name)
        if theirs != ours:
            theirs, ours = (list(each) if isinstance(each, tuple) else each for each in (theirs, ours))
            raise InputError(f"the teacher in {source} has other {name} than {config.data}: {theirs} instead of {ours}")
    return get_task(config.task).adapt_teacher(teacher, info, expected, source)


def _from_weights(source: str, config: TrainConfig, expected: ModelInfo) -> nn.Module:
    """The student's network with the weights of a file, all of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", NewTensors)
        try:
            return get_task(config.task).build(expected, source).eval()
        except NewTensors as reason:
            raise InputError(
                f"a teacher must be complete, including its classifier: {reason}; train it first"
            ) from reason
