"""An image of what a segmenter gets right and wrong: its best and worst cases, with the true and the given classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

from drkd.tasks.segmentation.palette import COLOURS
from drkd.tasks.segmentation.splits import IGNORE, SegmentationSplit
from drkd.utils.plain_plots import plain_text, shorten

EACH = 4
"""Images of either end."""

NAMED = 20
"""The most classes in the legend."""

GREY = (0.85, 0.85, 0.85)
"""Of pixels that do not count."""


@plain_text
def draw_cases(found: Sequence[Tensor], split: SegmentationSplit, classes: Sequence[str], file: Path) -> None:
    """Write a PNG with the images of a split on which the classes fit best (above) and worst (below).

    Args:
        found: the classes uint8 (S, S) that a segmenter gives each image of `split`.
        split: images and true masks; images without a pixel that counts are left out.
        classes: their names.
        file: where to.
    """
    scores = {row: image_iou(found[row], split[row][1]) for row in range(len(split))}
    known = {row: score for row, score in scores.items() if score is not None}
    ranked = sorted(known, key=lambda row: (-known[row], row))
    count = min(EACH, (len(ranked) + 1) // 2)
    figure = Figure(figsize=(2.2 * max(2, count), 13), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(6, max(1, count), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for first, (name, rows) in zip(
        (0, 3), {"best": ranked[:count], "worst": ranked[::-1][:count]}.items(), strict=True
    ):
        for column, row in enumerate(rows):
            image, mask = split[row]
            grid[first][column].imshow(image.permute(1, 2, 0).numpy())
            title = f"{name}: IoU {100 * known[row]:.0f}%, {shorten(split.pairs[row].image.name)}"
            grid[first][column].set_title(title, fontsize=7)
            for below, labels, what in ((1, mask, "true"), (2, found[row], "found")):
                grid[first + below][column].imshow(coloured(labels, mask), interpolation="nearest")
                grid[first + below][column].set_title(what, fontsize=6)
    keys = [Patch(color=COLOURS[label] / 255, label=shorten(name)) for label, name in enumerate(classes[:NAMED])]
    figure.legend(handles=[*keys, Patch(color=GREY, label="ignored")], loc="outside lower center", ncols=6, fontsize=7)
    figure.savefig(file, dpi=110, metadata={"Software": None})


def coloured(labels: Tensor, mask: Tensor) -> NDArray[np.float64]:
    """Classes (S, S) in colours (S, S, 3); grey where the true mask ignores them."""
    image: NDArray[np.float64] = COLOURS[labels.numpy()] / 255
    image[mask.numpy() == IGNORE] = GREY
    return image


def image_iou(found: Tensor, mask: Tensor) -> float | None:
    """Intersection over union on one image, mean over the classes that occur on it; None where no pixel counts.

    Example:
        >>> import torch
        >>> image_iou(torch.tensor([[0, 1, 1, 2]]), torch.tensor([[0, 0, 1, 255]]))
        0.5
    """
    counts = mask != IGNORE
    said, true = found[counts], mask[counts]
    there = sorted({*said.tolist(), *true.tolist()})
    values = [float(((said == k) & (true == k)).sum() / ((said == k) | (true == k)).sum()) for k in there]
    return sum(values) / len(values) if values else None
