"""Semantic segmentation: a class for every pixel, so logits (B, K, H, W) and labels (B, H, W).

    data = drkd.tasks.segmentation.load_segmentation("FOLDER")
    drkd.fit(network, drkd.dr_kd(MainOutput(teacher)), data, epochs=30)

losses.py      a training step of a network that returns a dictionary, any method
networks.py    segmenters by name
reading.py     what a folder of masks holds: images with masks and Pascal VOC; coco.py: polygons
masks.py       one image and its mask, decoded and brought to size
data.py        folders into splits; splits.py: what they are; checking.py: all that is wrong with a folder
made.py        embedded images; noise.py: random ones
augment.py     image and mask moved together; batches.py: order and augmentation
metrics.py     mean intersection over union, pixel accuracy
learning.py    what `drkd.fit` needs to know of segmenters
drawing.py     best and worst cases; palette.py: colours of classes
deployed.py    from pixels to masks; answering.py, overlay.py: masks of files, written and drawn
task.py        segmentation as a task of runs and commands
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drkd.tasks.segmentation.data import load_segmentation as load_segmentation
    from drkd.tasks.segmentation.dataset import SegmentationData as SegmentationData
    from drkd.tasks.segmentation.losses import AUX_WEIGHT as AUX_WEIGHT
    from drkd.tasks.segmentation.losses import MainOutput as MainOutput
    from drkd.tasks.segmentation.losses import segmentation_losses as segmentation_losses
    from drkd.tasks.segmentation.metrics import SegmentationMetrics as SegmentationMetrics
    from drkd.tasks.segmentation.metrics import evaluate_segmenter as evaluate_segmenter
    from drkd.tasks.segmentation.metrics import mean_iou as mean_iou
    from drkd.tasks.segmentation.networks import create_segmenter as create_segmenter
    from drkd.tasks.segmentation.splits import SegmentationSplit as SegmentationSplit

_HOME_OF = {
    "AUX_WEIGHT": "losses",
    "MainOutput": "losses",
    "SegmentationData": "dataset",
    "SegmentationMetrics": "metrics",
    "SegmentationSplit": "splits",
    "create_segmenter": "networks",
    "evaluate_segmenter": "metrics",
    "load_segmentation": "data",
    "mean_iou": "metrics",
    "segmentation_losses": "losses",
}

__all__ = list(_HOME_OF)  # each is imported above for type checkers


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
