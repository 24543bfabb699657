"""Object detection: torchvision's detectors, their class scores trained by any `Objective`.

    losses, parts = drkd.detection.detector_losses(detector, images, targets, objective)
    sum(losses.values()).backward()

positions.py   where a step scores classes, and a teacher that scores the same places
losses.py      torchvision's own training step with another class loss
networks.py    detectors by name, random weights
reading.py     VOC and COCO folders; data.py: splits, pictures, batches
metrics.py     mAP, mAP50, AR
training.py    fit_detector: the loop
drawing.py     best and worst cases
"""

import importlib
from typing import Any

__all__ = ["AtPositions", "Positions", "detector_losses", "distilled"]

_PLACES = {
    "AtPositions": "positions",
    "Positions": "positions",
    "detector_losses": "losses",
    "distilled": "losses",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"drkd.detection.{_PLACES[name]}"), name)
