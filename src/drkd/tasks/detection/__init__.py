"""Object detection: torchvision's detectors, their class scores trained by any `Objective`.

    losses, parts = drkd.tasks.detection.detector_losses(detector, images, targets, objective)
    sum(losses.values()).backward()

positions.py   where a step scores classes, and a teacher that scores the same places
losses.py      torchvision's own training step with another class loss
networks.py    detectors by name; efficientnet.py: one on timm's EfficientNet-Lite0; starts.py: where they start from
reading.py     what a folder of annotations holds: voc.py, coco.py; checking.py: all that is wrong with it
data.py        folders into splits.py; made.py: embedded images; noise.py: random ones; batches.py: order and mirroring
metrics.py     mAP, mAP50, AR
learning.py    what `drkd.fit` needs to know of detectors
drawing.py     best and worst cases
task.py        detection as a task of runs and commands
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drkd.tasks.detection.data import load_detection as load_detection
    from drkd.tasks.detection.dataset import DetectionData as DetectionData
    from drkd.tasks.detection.losses import detector_losses as detector_losses
    from drkd.tasks.detection.losses import distilled as distilled
    from drkd.tasks.detection.metrics import DetectionMetrics as DetectionMetrics
    from drkd.tasks.detection.metrics import detect as detect
    from drkd.tasks.detection.metrics import evaluate_detector as evaluate_detector
    from drkd.tasks.detection.metrics import measure as measure
    from drkd.tasks.detection.networks import create_detector as create_detector
    from drkd.tasks.detection.positions import AtPositions as AtPositions
    from drkd.tasks.detection.positions import Positions as Positions
    from drkd.tasks.detection.splits import DetectionSplit as DetectionSplit

_HOME_OF = {
    "AtPositions": "positions",
    "DetectionData": "dataset",
    "DetectionMetrics": "metrics",
    "DetectionSplit": "splits",
    "Positions": "positions",
    "create_detector": "networks",
    "detect": "metrics",
    "detector_losses": "losses",
    "distilled": "losses",
    "evaluate_detector": "metrics",
    "load_detection": "data",
    "measure": "metrics",
}

__all__ = list(_HOME_OF)  # each is imported above for type checkers


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
