"""The page of options says of each option what the command itself says."""

import re

import pytest

from drkd.config import CONFIGS
from drkd.config.reference import as_reference


@pytest.fixture(scope="module")
def rows():
    """Of each option: the commands of its table, and its cells."""
    found = []
    for table in re.split(r"^For ", as_reference(CONFIGS), flags=re.MULTILINE)[1:]:
        commands = re.findall(r"`drkd (\w+)`", table.splitlines()[0])
        lines = [line for line in table.splitlines() if line.startswith("| `--")]
        found += [(commands, [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]) for line in lines]
    return found


@pytest.mark.parametrize("command", CONFIGS)
def test_every_option_of_a_command_has_one_row(rows, command):
    listed = [cells[0] for commands, cells in rows if command in commands]
    assert sorted(listed) == sorted(f"`--{name.replace('_', '-')}`" for name in CONFIGS[command].model_fields)


def test_rows_hold_values_default_and_description(rows):
    assert all(len(cells) == 4 and cells[3] for _, cells in rows)
    found = {cells[0]: cells for _, cells in rows}
    assert found["`--momentum`"][1:3] == ["a number at least 0, below 1", "`0.9`"]
    assert found["`--freeze`"][1] == "one of: backbone or a whole number or null"
    assert found["`--schedule`"][1].startswith("one of: step, ")
