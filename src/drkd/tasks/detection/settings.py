"""What a configuration may say of a detector, and what has no meaning there."""

from drkd.config import TrainConfig
from drkd.methods.registry import get_method
from drkd.objective.objective import Objective
from drkd.tasks.detection.data import load_detection
from drkd.tasks.detection.splits import DetectionData
from drkd.utils.errors import InputError


def load_boxes(config: TrainConfig) -> DetectionData:
    """The images with boxes that `config` names, split for its seed."""
    return load_detection(
        config.data,
        seed=config.seed,
        validation=config.validation,
        limit_train=config.limit_train,
        limit_test=config.limit_test,
        image_size=config.image_size,
        augment=config.augment,
        skip_bad_images=config.skip_bad_images,
    )


def check_settings(config: TrainConfig, objective: Objective) -> None:
    """Refuse what detection has not, in one line.

    Raises:
        InputError: for the first option or method that does not fit.
    """
    for wrong, option, why in (
        (config.label_noise > 0, "--label-noise", "labels belong to boxes there"),
        (config.precision != "float32", f"--precision {config.precision}", "it computes in float32"),
        (config.compile == "on", "--compile on", "the number of boxes changes from step to step"),
        (config.memory_format == "channels_last", "--memory-format channels_last", "it is not measured there"),
        (config.devices > 1 or config.num_nodes > 1, "--devices or --num-nodes above 1", "it trains in one process"),
        (config.sync_batchnorm, "--sync-batchnorm", "it trains in one process"),
        (config.workers is not None, "--workers", "its loader takes no number of them"),
        (config.download, "--download", "its data is a folder of your own"),
    ):
        if wrong:
            raise InputError(f"--task detection takes no {option}: {why}; leave it out")
    if get_method(config.method).clean_view or objective.needs - {"inputs", "index"}:
        raise InputError(
            f"--task detection cannot train with {config.method}: a step sees each image once; choose another"
        )
    if "index" in objective.needs and "ssd" not in config.model:
        raise InputError(
            f"{config.method} remembers positions, which change from step to step in {config.model}; choose an SSD, or "
            "online_dr_kd with --source ema"
        )
