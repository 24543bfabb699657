"""All options of a command as a YAML file with comments, which `--config` reads back."""

import textwrap
from collections.abc import Mapping
from typing import get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from drkd.config.resolving import resolve

WIDTH = 100


def as_commented_yaml(kind: type[BaseModel], command: str, given: Mapping[str, object]) -> str:
    """Each option with its description, the values it may have, and its default: the value that it has here.

    Args:
        kind: the configuration of a command.
        command: its name.
        given: options that others' defaults go by, such as the data.

    Example:
        >>> from drkd.config import BenchConfig
        >>> as_commented_yaml(BenchConfig, "bench", {}).splitlines()[7:10]
        ['# network by name, or timm:NAME', 'model: small_cnn', '']
    """
    config, origins = resolve(kind, given)
    lines = [f"# Options of `drkd {command}`, each with its default. If you delete a line, its default applies.", ""]
    for name, value in config.model_dump().items():
        field = kind.model_fields[name]
        lines += [f"# {line}" for line in textwrap.wrap(field.description or "", WIDTH)]
        if allowed := describe_values(field):
            lines.append(f"# {allowed}")
        if origins[name] not in ("default", "command line"):
            lines.append(f"# {origins[name]}")
        dumped = yaml.safe_dump({name: value}, default_flow_style=True, sort_keys=False, width=10**6).strip()
        lines += [dumped[1:-1], ""]
    return "\n".join(lines)


def describe_values(field: FieldInfo) -> str:
    """Which values an option may have, in words; nothing of text."""
    limits = []
    for constraint in field.metadata:
        for attribute, words in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below")):
            if (limit := getattr(constraint, attribute, None)) is not None:
                limits.append(f"{words} {limit:g}")
    choices = _choices(field.annotation)
    kinds = _kinds(field.annotation)
    nothing = " or null" if type(None) in kinds else ""
    if bool in kinds:
        return "true or false"
    if choices and str not in kinds:
        number = " or a whole number" if int in kinds else ""
        return f"one of: {', '.join(choices)}{number}{nothing}"
    word = "a whole number" if int in kinds else "a number" if float in kinds else ""
    return f"{word}{' ' if limits else ''}{', '.join(limits)}{nothing}" if word else ""


def _choices(annotation: object) -> list[str]:
    if str(get_origin(annotation)) == "typing.Literal":
        return [str(choice) for choice in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in _choices(part)]


def _kinds(annotation: object) -> set[object]:
    """The plain types of an annotation."""
    parts = get_args(annotation)
    if not parts or str(get_origin(annotation)) == "typing.Literal":
        return {annotation}
    return set().union(*map(_kinds, parts))
