"""The gallery of suspect labels: one HTML file that opens anywhere, offline."""

import base64
import io
from pathlib import Path

from jinja2 import Environment, PackageLoader
from PIL import Image
from torch import Tensor

from drkd.studies.ranking import Suspects
from drkd.utils.files import write_text

PAGE = "suspects.html"

SIDE = 160
"""Larger images are scaled down to this side length."""

EXACT = 64
"""Images up to this side length are kept to the pixel; of larger ones a JPEG is a tenth as large."""


def write_gallery(found: Suspects) -> Path:
    """Write `suspects.html` beside `suspects.csv`: the first images with their given and suggested classes."""
    template = Environment(loader=PackageLoader("drkd.report"), autoescape=True).get_template("suspects.html")
    shown = [(each, _inline(pixels)) for each, pixels in zip(found.images, found.pixels, strict=False)]
    page = template.render(found=found, shown=shown)
    write_text(found.out / PAGE, page)
    return found.out / PAGE


def _inline(pixels: Tensor) -> str:
    """A uint8 image (C, H, W) as the address of a page's own image."""
    values = pixels.permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values)
    if image.width > SIDE:
        image = image.resize((SIDE, SIDE))
    kind = "png" if image.width <= EXACT else "jpeg"
    file = io.BytesIO()
    image.save(file, kind)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
