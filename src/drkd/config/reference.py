"""Every option in tables, for the documentation."""

from collections.abc import Mapping

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from drkd.config.commented import describe_values

HEADER = ("| option | values | default | |", "|---|---|---|---|")


def as_reference(kinds: Mapping[str, type[BaseModel]]) -> str:
    """Markdown: a section for each group of options, with a row for each option.

    Args:
        kinds: the configurations of commands, by the commands' names.

    Example:
        >>> from drkd.config import BenchConfig
        >>> print(as_reference({"bench": BenchConfig}).splitlines()[0])
        ## What to measure the cost of, and how
    """
    commands: dict[tuple[type, str], list[str]] = {}
    for command, kind in kinds.items():
        for name in kind.model_fields:
            commands.setdefault((_group_of(kind, name), name), []).append(command)
    lines = []
    for group in dict.fromkeys(owner for owner, _ in commands):
        lines += [f"## {(group.__doc__ or group.__name__).splitlines()[0].rstrip('.')}", ""]
        names = {name: taken for (owner, name), taken in commands.items() if owner is group}
        for taken in dict.fromkeys(map(tuple, names.values())):
            lines += [f"For {', '.join(f'`drkd {command}`' for command in taken)}:", "", *HEADER]
            lines += [_row(name, kinds[taken[0]].model_fields[name]) for name in names if tuple(names[name]) == taken]
            lines.append("")
    return "\n".join(lines)


def _group_of(kind: type[BaseModel], name: str) -> type:
    """The class that describes an option."""
    return next(each for each in kind.__mro__ if name in vars(each).get("__annotations__", {}))


def _row(name: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    written = yaml.safe_dump(default, default_flow_style=True, width=10**6).split("\n")[0]
    cells = (
        f"`--{name.replace('_', '-')}`",
        describe_values(field),
        "" if default is None else f"`{written}`",
        field.description or "",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
