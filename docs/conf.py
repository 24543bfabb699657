"""Sphinx configuration. `python3 dev.py docs` builds the pages."""

import ast
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxTranslator

SOURCE = Path(__file__).parent.parent / "src" / "drkd"


def assigned(file: str, name: str) -> object:
    """The constant that a module assigns to `name`, read without importing the module."""
    tree = ast.parse((SOURCE / file).read_text(encoding="utf-8"))
    assignments = (node for node in tree.body if isinstance(node, ast.Assign))
    return next(
        ast.literal_eval(node.value)
        for node in assignments
        if isinstance(node.targets[0], ast.Name) and node.targets[0].id == name
    )


project = "drkd"
version = release = str(assigned("_version.py", "__version__"))
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "theory/*"]
default_role = "code"

html_theme = "furo"
html_math_renderer = "mathml"
html_title = f"drkd {version}"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
napoleon_use_ivar = True


def write_inline(page: SphinxTranslator, node: nodes.math) -> None:
    """A formula as MathML, which browsers draw themselves, offline too."""
    page.body.append(convert(node.astext()))
    raise nodes.SkipNode


def write_block(page: SphinxTranslator, node: nodes.math_block) -> None:
    """The same, on lines of its own; a wide one scrolls."""
    page.body.append(
        f'<div style="overflow: auto hidden; padding: 0.3em 0">{convert(node.astext(), display="block")}</div>'
    )
    raise nodes.SkipNode


def write_options(_app: Sphinx, page: str, source: list[str]) -> None:
    """The tables of the page "options", from the descriptions that the commands use."""
    if page == "options":
        from drkd.config import CONFIGS
        from drkd.config.reference import as_reference

        source[0] = source[0].replace("<!-- options -->", as_reference(CONFIGS))


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", write_options)
    app.connect("env-get-outdated", lambda *_: ["options"])  # whatever changed in the code
    app.add_html_math_renderer("mathml", (write_inline, None), (write_block, None))
