"""Every page: links lead somewhere, Python parses, commands and options exist; pages of methods have the same parts."""

import ast
import re
import shlex
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import typer.main

from drkd.cli import COMMANDS
from drkd.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
METHODS = [page for page in PAGES if page.parent.name == "methods" and page.stem != "index"]
PARTS = ["Usage", "Reported numbers", "Differences from the paper", "Measured beside published"]
BY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)


@cache
def anchors(page: Path) -> set[str]:
    """Those of the headings, as GitHub and MyST make them."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\]\(.*?\)", "", title).lower()).replace(" ", "-") for title in headings}


@cache
def options() -> dict[str, set[str]]:
    """By command of drkd."""
    for module in COMMANDS:
        import_module(module)
    everywhere = {"--help", "--debug"}
    return {
        name: everywhere.union(*((*each.opts, *each.secondary_opts) for each in command.params))
        for name, command in typer.main.get_command(app).commands.items()
    }


@BY_PAGE
def test_links_lead_to_files_and_headings(page):
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not re.match(r"https?:|mailto:", link) and not (
            target.exists() and (not anchor or anchor in anchors(target))
        ):
            broken.append(link)
    assert not broken


def test_pages_that_the_code_names_exist():
    files = [path for folder in ("src", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.*")]
    texts = [path.read_text(encoding="utf-8") for path in files if path.suffix in (".py", ".yaml", ".html", ".j2")]
    named = set(re.findall(r"\bdocs/[\w/-]+\.md\b", "\n".join(texts))) - {"docs/methods/NAME.md"}
    assert named
    assert all((ROOT / name).is_file() for name in named)


@BY_PAGE
def test_blocks_of_python_parse(page):
    for block in blocks(page, "python"):
        ast.parse(block, mode="exec")


@BY_PAGE
def test_commands_have_the_options_that_blocks_give_them(page):
    wrong = []
    for line in "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines():
        words = [word for part in line.split("&&") for word in shlex.split(part, comments=True)]
        where = next((at for at, word in enumerate(words) if re.fullmatch(r"(\S*/)?drkd|dev\.py", word)), None)
        script = next((ROOT / word for word in words if re.fullmatch(r"(benchmarks|examples)/[\w/]+\.py", word)), None)
        given = {re.split("=", word)[0] for word in words if re.match(r"--[a-z]", word)}
        if script is not None:
            modules = [script, *script.parent.glob("*.py")] if script.exists() else []
            known = "\n".join(path.read_text(encoding="utf-8") for path in modules)
            wrong += [line] * (not modules or not all(f'"{option}"' in known for option in given))
        elif where is not None and where + 1 < len(words):
            command = words[where + 1]
            known = options().get(command, set())
            wrong += [line] * (command in options() and not given <= known)
            wrong += [line] * (words[where] != "dev.py" and command not in options() and command != "--help")
    assert not wrong


def parts(text: str) -> dict[str, str]:
    _, *parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("page", METHODS, ids=lambda page: page.stem)
def test_every_method_s_page_has_the_same_parts_in_the_same_order(page):
    found = parts(text_of(page))
    assert [*found] == PARTS
    usage, numbers, differences, measured = found.values()
    assert "```bash\ndrkd " in usage
    assert "```python\n" in usage
    assert "index.md#reported-numbers" in numbers
    assert "\n1. " in differences
    assert "easured" in measured


def test_the_page_of_a_new_method_has_them_too():
    (page,) = blocks(ROOT / "docs" / "adding-a-method.md", "markdown")
    assert [*parts(page)] == PARTS
