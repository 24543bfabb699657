"""Images of which several classes are true at once."""

import numpy as np
from PIL import Image

CLASSES = ("red", "green", "dark")


def write_several(root, count=40, size=8, unknown=(), split="labels"):
    """Images of noise with a bright red or green channel, or neither, and a CSV file of what is true of each."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = ["file," + ",".join(CLASSES)]
    for number in range(count):
        red, green = rng.integers(2, size=2)
        pixels = rng.integers(60, size=(size, size, 3)) + 120 * np.array([red, green, 0])
        Image.fromarray(pixels.astype(np.uint8)).save(root / f"{split}-{number}.png")
        cells = [str(red), str(green), str(int(not red and not green))]
        if number in unknown:
            cells[2] = ""
        rows.append(f"{split}-{number}.png," + ",".join(cells))
    (root / f"{split}.csv").write_text("\n".join(rows) + "\n")
    return root
