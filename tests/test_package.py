import ast
import inspect
import re
from pathlib import Path

import pytest

import drkd
from drkd import methods, models
from drkd.cli import catalog
from drkd.data.shapes import NAME

SOURCE = Path(drkd.__file__).parent
DOCS = Path(__file__).parent.parent / "docs"


def test_every_public_name_is_there_and_described():
    for name in drkd.__all__:
        assert name == "__version__" or getattr(drkd, name).__doc__


def test_the_public_names_are_grouped_as_the_documentation_groups_them():
    text = (SOURCE / "__init__.pyi").read_text(encoding="utf-8").partition("__version__ as __version__\n")[2]
    groups = dict(re.findall(r'^"""(.*)"""\n\n((?:from .*\n)+)', text, re.MULTILINE))
    pages = re.findall(r"^## (.*)\n((?:(?!## ).*\n)+)", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    shown = {title: sorted(re.findall(r":: drkd\.(\w+)$", section, re.MULTILINE)) for title, section in pages}
    assert {title: sorted(re.findall(r" as (\w+)$", lines, re.MULTILINE)) for title, lines in groups.items()} == {
        title: names for title, names in shown.items() if names
    }
    assert all(lines.splitlines() == sorted(set(lines.splitlines())) for lines in groups.values())
    assert len(drkd.__all__) == len(set(drkd.__all__)) == 1 + sum(len(names) for names in shown.values())


def test_the_example_of_the_interface_uses_every_public_name():
    tree = ast.parse((DOCS.parent / "examples" / "api.py").read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    assert {node.attr for node in nodes if node.value.id == "drkd"} == {*drkd.__all__}


def test_no_module_bears_a_public_name():
    modules = {path.stem for path in SOURCE.iterdir()}
    functions = {name for name in drkd.__all__ if name.islower()}
    assert not modules & (functions - {"__version__"})


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        drkd.nonsense  # noqa: B018


def test_the_catalog_lists_what_there_is():
    assert list(catalog.methods()) == list(methods.all_methods())
    assert list(catalog.models()) == [*models.MODELS, "timm:NAME"]
    assert set(catalog.datasets()) == {*drkd.data.datasets.DATASETS, NAME}
    tables = (catalog.methods(), catalog.models(), catalog.datasets())
    assert all(line.strip() for table in tables for line in table.values())


METHODS = methods.all_methods().values()
WITH_PAGES = [method for method in METHODS if not method.clean_view]  # those share one


def test_every_method_has_a_page_a_label_and_a_colour_of_its_own():
    root = Path(__file__).parent.parent
    assert all((root / method.page).is_file() for method in METHODS)
    for names in ([method.label for method in METHODS], [method.colour for method in METHODS]):
        assert None not in names
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("method", WITH_PAGES, ids=lambda method: method.name)
def test_the_pages_of_the_methods_show_the_defaults_of_the_code(method):
    text = (Path(__file__).parent.parent / method.page).read_text(encoding="utf-8")
    table = text.partition("| name | default | meaning |")[2].partition("\n\n")[0]
    shown = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", table, re.MULTILINE))
    defaults = {
        name: "required" if parameter.default is inspect.Parameter.empty else parameter.default
        for name, parameter in inspect.signature(method.make).parameters.items()
        if name not in ("options", "student")
    }
    if "source" in defaults:
        defaults["decay"] = drkd.Ema.__init__.__defaults__[0]
        defaults["keep"] = inspect.signature(drkd.Memory).parameters["keep"].default
    assert shown.keys() == defaults.keys()
    for name, default in defaults.items():
        value = shown[name].strip("`")
        assert value == (str(default).lower() if default is None else default) or ast.literal_eval(value) == default


ROOMS = (
    *("utils", "config", "data", "models", "targets", "objective", "methods", "training", "tasks", "integrations"),
    *("runs", "export", "studies", "report", "cli"),
)
"""Each uses those before it, none after it."""

DOWN = {("studies/showing.py", "report")}
"""But for results that a notebook asks to show themselves."""


def test_no_room_uses_one_further_down():
    found = set()
    for file in sorted(SOURCE.rglob("*.py")):
        room, *_ = parts = file.relative_to(SOURCE).parts
        if room not in ROOMS:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            used = {name.split(".")[1] for name in names if name.startswith("drkd.")} & set(ROOMS)
            found |= {("/".join(parts), other) for other in used if ROOMS.index(other) > ROOMS.index(room)}
    assert found == DOWN
