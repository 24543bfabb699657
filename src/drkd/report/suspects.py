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

SIDE = 128
"""Images are shown this large; smaller ones are scaled up by whole factors, larger ones down."""


def write_gallery(found: Suspects) -> Path:
    """Write `suspects.html` beside `suspects.csv`: the first images with their given and suggested classes."""
    template = Environment(loader=PackageLoader("drkd.report"), autoescape=True).get_template("suspects.html")
    shown = [(each, _as_png(pixels)) for each, pixels in zip(found.images, found.pixels, strict=False)]
    page = template.render(found=found, shown=shown)
    write_text(found.out / PAGE, page)
    return found.out / PAGE


def _as_png(pixels: Tensor) -> str:
    """A uint8 image (C, H, W) in base64."""
    values = pixels.permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values)
    if image.width > SIDE:
        image = image.resize((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "png")
    return base64.b64encode(file.getvalue()).decode()
