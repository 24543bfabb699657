"""docs/methods: every page has the same four parts, and a command and Python to start from."""

import re
from pathlib import Path

import pytest

PAGES = sorted(page for page in (Path(__file__).parents[2] / "docs" / "methods").glob("*.md") if page.stem != "index")
PARTS = ["Usage", "Reported numbers", "Differences from the paper", "Measured beside published"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_has_the_same_parts_in_the_same_order(page):
    _, *parts = re.split(r"^## (.*)\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    titles, (usage, numbers, differences, measured) = parts[::2], parts[1::2]
    assert titles == PARTS
    assert "```bash\ndrkd " in usage
    assert "```python\n" in usage
    assert "index.md#reported-numbers" in numbers
    assert "\n1. " in differences
    assert "easured" in measured
