import ast
from pathlib import Path

import pytest

import drkd
from drkd import catalog, methods, models

SOURCE = Path(drkd.__file__).parent


def test_every_public_name_is_there_and_described():
    for name in drkd.__all__:
        assert name == "__version__" or getattr(drkd, name).__doc__


def test_type_checkers_see_the_same_names():
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {(node.module, alias.asname) for node in block.body for alias in node.names}
    assert seen == {(home, name) for name, home in drkd._HOME_OF.items()}


def test_no_module_bears_a_public_name():
    modules = {path.stem for path in SOURCE.rglob("*.py")}
    functions = {name for name in drkd.__all__ if name.islower()}
    assert not modules & (functions - {"__version__"})


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        drkd.nonsense  # noqa: B018


def test_the_catalog_lists_what_there_is():
    assert list(catalog.methods()) == [method.__name__ for method in methods.METHODS]
    assert list(catalog.models()) == [*models.MODELS, "timm:NAME"]
    assert set(catalog.datasets()) == set(drkd.data.datasets.DATASETS)
    tables = (catalog.methods(), catalog.models(), catalog.datasets())
    assert all(line.strip() for table in tables for line in table.values())
