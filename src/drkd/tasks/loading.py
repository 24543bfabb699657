"""Networks from the files that drkd writes."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from drkd.models.files import ModelInfo, model_file, read_model
from drkd.tasks import get_task
from drkd.utils.arguments import check_arguments
from drkd.utils.errors import InputError
from drkd.utils.objects import PREFIX, Objects


def load_model(
    source: str | Path, *, model: nn.Module | Callable[..., nn.Module] | None = None
) -> tuple[nn.Module, ModelInfo]:
    """The network of a run directory or of its `model.safetensors`, and what the file says about it.

    Args:
        source: a run directory, or a file that drkd wrote.
        model: the network itself, or what makes it, where a training was given it as a Python object. It need not be
            repeated in the same process: exports and evaluations find it too.

    Returns:
        The network in eval mode, and how it is to be fed.

    Raises:
        InputError: if there is no such file, it was not written by drkd, or it is damaged.
    """
    check_arguments(load_model, {"source": source})
    tensors, info = read_model(source)
    if model is not None:
        if not info.model.startswith(PREFIX):
            raise InputError(f"the network in {source} is {info.model}, which drkd builds itself; leave model out")
        Objects({info.model: model}).make_known()
    network = get_task(info.task).build(info)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as reason:
        raise InputError(f"{model_file(source)} does not fit its own network {info.model}: {reason}") from reason
    return network.eval(), info


def load_deployed(source: str | Path) -> tuple[nn.Module, ModelInfo]:
    """`load_model` with the preprocessing in front: from uint8 pixels (B, C, H, W) to answers.

    Raises:
        InputError: as `load_model`.
    """
    network, info = load_model(source)
    return get_task(info.task).deploy(network, info), info
