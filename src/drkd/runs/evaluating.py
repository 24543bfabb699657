"""A trained network measured on a data set."""

from dataclasses import dataclass
from pathlib import Path

from drkd.config import TrainConfig, read_record
from drkd.models.files import ModelInfo
from drkd.runs.data_record import check_data
from drkd.tasks import SplitMetrics, TaskData, get_task
from drkd.tasks.loading import load_model
from drkd.utils.device import choose_device
from drkd.utils.errors import InputError

OF_SPLITS = (
    *("seed", "validation", "fold", "limit_train", "limit_test", "label_noise", "image_size", "skip_bad_images"),
)
"""Options of a run that say which images its splits hold."""

OF_OTHER_DATA = ("seed", "validation", "label_noise", "skip_bad_images")
"""Those that hold for other data too: its limits may be more than there is."""


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


def evaluate_run(
    source: Path, *, data: str | None, split: str, device: str = "auto", skip_bad_images: bool = False
) -> Evaluation:
    """Metrics of the network in `source` on a split of `data`, by default the very data of its run.

    With `skip_bad_images` those that cannot be read are left out, as they always are where the run did so.

    Raises:
        InputError: if the data's classes are not the network's, or no data is known.
    """
    network, info = load_model(source)
    loaded = data_of(source, info, data, split, skip_bad_images=skip_bad_images)
    metrics = get_task(info.task).evaluate(
        network.to(choose_device(device)),
        loaded,
        split,
        temperature=None if info.temperature == 1 else info.temperature,
    )
    return Evaluation(loaded.name, split, len(getattr(loaded, split)), metrics, info.task)


def run_of(source: Path) -> Path:
    """The run directory of a run directory or of its model file."""
    return source if source.is_dir() else source.parent


def data_of(
    source: Path, info: ModelInfo, data: str | None = None, split: str = "either", *, skip_bad_images: bool = False
) -> TaskData:
    """The data of the run in `source`, or other data, split and limited as the run's and prepared for its network.

    Args:
        source: a run directory, or its model file.
        info: what the model file records about itself.
        data: a data set or folder in place of the run's.
        split: which one is measured on; `either` where that is chosen later.

    Raises:
        InputError: if the data's classes are not the network's, no data is known, or the split was trained on.
    """
    record, same = run_of(source) / "config.yaml", False
    options: dict[str, object] = {"image_size": info.image_size if data else None}
    if record.is_file():
        config = read_record(TrainConfig, record)
        same = data is None or data == config.data or Path(data).resolve() == Path(config.data).resolve()
        options |= {name: getattr(config, name) for name in (OF_SPLITS if same else OF_OTHER_DATA)}
        data = data or config.data
    if skip_bad_images:
        options["skip_bad_images"] = True
    if data is None:
        raise InputError(f"{source} does not say which data it was trained on; give --data")
    of_data = TrainConfig.model_validate({**options, "data": data, "task": info.task})
    loaded = get_task(info.task).load(of_data, info.preprocessing)
    for what, has, needs in (
        ("classes", list(loaded.classes), list(info.classes)),
        ("colour channels", loaded.channels, info.channels),
    ):
        if has != needs:
            raise InputError(f"{data} has other {what} than the network in {source}: {has} instead of {needs}")
    check_data(run_of(source), loaded, same=same, split=split)
    return loaded
