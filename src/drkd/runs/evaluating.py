"""A trained network measured on a data set."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from drkd.config import TrainConfig, read_record
from drkd.data import Data
from drkd.models.files import ModelInfo
from drkd.tasks import SplitMetrics, TaskData, get_task
from drkd.tasks.loading import load_model
from drkd.utils.device import choose_device
from drkd.utils.errors import InputError

OF_SPLITS = ("seed", "validation", "limit_train", "limit_test", "label_noise", "image_size", "skip_bad_images")
"""Options of a run that say which images its splits hold."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate_run` found.

    Attributes:
        data, split, samples: what was measured on.
        metrics: as the run's task has them.
        task: of the run.
    """

    data: str
    split: str
    samples: int
    metrics: SplitMetrics
    task: str


def evaluate_run(source: Path, *, data: str | None, split: str, device: str = "auto") -> Evaluation:
    """Metrics of the network in `source` on a split of `data`, by default the very data of its run.

    Raises:
        InputError: if the data's classes are not the network's, or no data is known.
    """
    network, info = load_model(source)
    loaded = data_of(source, info, data)
    metrics = get_task(info.task).evaluate(network.to(choose_device(device)), loaded, split)
    return Evaluation(loaded.name, split, len(getattr(loaded, split)), metrics, info.task)


def data_of(source: Path, info: ModelInfo, data: str | None = None) -> TaskData:
    """The data of the run in `source`, or other data, split and limited as the run's and normalised for its network.

    Args:
        source: a run directory, or its model file.
        info: what the model file says of itself.
        data: a data set or folder in place of the run's.

    Raises:
        InputError: if the data's classes are not the network's, or no data is known.
    """
    record = (source if source.is_dir() else source.parent) / "config.yaml"
    wanted: dict[str, object] = {"image_size": info.image_size if data else None}
    if record.is_file():
        config = read_record(TrainConfig, record)
        same = data is None or data == config.data
        wanted |= {name: getattr(config, name) for name in (OF_SPLITS if same else ("seed",))}
        data = data or config.data
    if data is None:
        raise InputError(f"{source} does not say which data it was trained on; give --data")
    loaded = get_task(info.task).load(TrainConfig.model_validate({**wanted, "data": data, "task": info.task}))
    for what, has, needs in (
        ("classes", list(loaded.classes), list(info.classes)),
        ("colour channels", loaded.channels, info.channels),
    ):
        if has != needs:
            raise InputError(f"{data} has other {what} than the network in {source}: {has} instead of {needs}")
    if isinstance(loaded, Data):
        return cast(TaskData, replace(loaded, mean=info.mean, std=info.std))
    return loaded
