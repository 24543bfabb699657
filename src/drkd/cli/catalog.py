"""The names that the command line knows, read from the sources without importing them: loading torch takes seconds."""

import ast
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drkd.studies.recipe import Recipe

HERE = Path(__file__).parents[1]


def methods() -> dict[str, str]:
    """Every method and the first line of its description.

    Example:
        >>> methods()["cross_entropy"]
        'Plain cross-entropy with the labels: CE(y, p).'
    """
    folder = HERE / "methods"
    first = ast.literal_eval(_assigned(_tree(folder / "registry.py"), "ORDER"))
    others = sorted({file.stem for file in folder.glob("*.py")} - {*first})
    functions = [node for module in (*first, *others) for node in _functions(folder / f"{module}.py")]
    return {node.name: _first_line(node) for node in functions if any(map(_is_method, node.decorator_list))}


def models() -> dict[str, str]:
    """Every network of our own and the first line of its description, and how to name timm's."""
    table = _assigned(_tree(HERE / "models" / "__init__.py"), "MODELS")
    names = [key.value for key in ast.walk(table) if isinstance(key, ast.Constant)]
    lines = _first_lines_in(HERE / "models")
    return {
        **{str(name): lines[str(name)] for name in names},
        "timm:NAME": "Any timm network, such as timm:resnet10t.",
    }


def detectors() -> dict[str, str]:
    """Every detector of `--task detection` and the first line of its description."""
    lines = _first_lines_in(HERE / "tasks" / "detection")
    table = _assigned(_tree(HERE / "tasks" / "detection" / "networks.py"), "DETECTORS")
    names = [node.id for node in ast.walk(table) if isinstance(node, ast.Name)]
    return {name: lines[name] for name in names if name in lines}


def segmenters() -> dict[str, str]:
    """Every network of `--task segmentation` and the first line of its description."""
    lines = _first_lines_in(HERE / "tasks" / "segmentation")
    table = _assigned(_tree(HERE / "tasks" / "segmentation" / "networks.py"), "SEGMENTERS")
    names = [node.id for node in ast.walk(table) if isinstance(node, ast.Name)]
    return {name: lines[name] for name in names if name in lines}


def datasets() -> dict[str, str]:
    """What can be given as data, in a line each."""
    table: dict[str, str] = ast.literal_eval(_assigned(_tree(HERE / "data" / "datasets.py"), "DATASETS"))
    of_boxes: str = ast.literal_eval(_assigned(_tree(HERE / "data" / "shapes.py"), "NAME"))
    return {
        **table,
        of_boxes: "made 64x64 images of forms with boxes and masks, embedded; for detectors and segmenters",
    }


def recipes() -> "list[Recipe]":
    """Every recipe, by name.

    Example:
        >>> {recipe.name: recipe.published for recipe in recipes()}["tf_kd/cifar100/mobilenetv2-self"]
        70.96
    """
    from drkd.studies.recipe import load_recipe, recipe_names

    return [load_recipe(name) for name in recipe_names()]


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _first_lines_in(folder: Path) -> dict[str, str]:
    """The first line of the docstring of each function in a package."""
    functions = [node for file in sorted(folder.glob("*.py")) for node in _functions(file)]
    return {function.name: _first_line(function) for function in functions}


def _functions(file: Path) -> list[ast.FunctionDef]:
    return [node for node in _tree(file).body if isinstance(node, ast.FunctionDef)]


def _first_line(function: ast.FunctionDef) -> str:
    return (ast.get_docstring(function) or "").split("\n")[0]


def _is_method(decorator: ast.expr) -> bool:
    """Whether it is `@method(...)` of `drkd.methods.registry`, imported as such or by its module."""
    name = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (name.attr if isinstance(name, ast.Attribute) else name.id if isinstance(name, ast.Name) else "") == "method"


def _assigned(tree: ast.Module, name: str) -> ast.expr:
    return next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets)
    )
