"""What both pages share: the template's pieces, plots and images in the page itself, the settings."""

import base64
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from drkd.config import read_written
from drkd.report.figures import inline
from drkd.tasks.gallery import GalleryImage, read_gallery
from drkd.utils.files import write_text


def render(template: str, file: Path, **content: object) -> Path:
    """Write a page from a template; it needs nothing but itself."""
    pages = Environment(loader=PackageLoader("drkd.report"), autoescape=True, undefined=StrictUndefined)
    write_text(file, pages.get_template(template).render(**content))
    return file


def figures_of(plots: Mapping[str, Path], captions: Mapping[str, str], prefix: str = "") -> list[tuple[str, str]]:
    """(SVG, caption) of each plot; `prefix` keeps ids apart where a page has several of a name."""
    return [(inline(file, f"{prefix}{name}"), captions[name]) for name, file in plots.items()]


@dataclass(frozen=True)
class RunImages:
    """The images that a training left: a gallery of its surest mistakes, and a drawing of cases, a PNG in base64."""

    mistakes: list[GalleryImage]
    cases: str


def images_of(run: Path) -> RunImages:
    """Those in a run directory; empty where there are none."""
    cases = run / "cases.png"
    drawn = base64.b64encode(cases.read_bytes()).decode() if cases.is_file() and _is_whole(cases) else ""
    return RunImages(read_gallery(run), drawn)


def _is_whole(file: Path) -> bool:
    """Whether a PNG fits its own checksums; one that does not is warned of."""
    try:
        with Image.open(file) as image:
            image.verify()
    except Exception as reason:  # whatever Pillow raises of a damaged file
        warnings.warn(f"{file} is damaged and skipped: {reason}", stacklevel=2)
        return False
    return True


def settings_of(file: Path) -> list[tuple[str, str, str]]:
    """(option, value, source) of a `config.yaml`."""
    options = read_written(file)
    sources = dict(re.findall(r"^([a-z_]+): .*  # (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE))
    lines = []
    for name, value in options.items():
        shown = ", ".join(str(part) for part in value) if isinstance(value, list) else value
        lines.append((name, "" if value is None else str(shown), sources.get(name, "")))
    return lines
