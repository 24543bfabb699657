"""Command-line options made from the fields of a configuration, so that each is described once."""

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from drkd.cli.completing import completion

PLAIN = (str, int, float, bool)


def with_options(config: type[BaseModel]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command that takes `**options` an option for each field of `config`; it gets those that were given."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(**values: Any) -> Any:
            return command(**{k: v for k, v in values.items() if v is not None or k not in config.model_fields})

        own = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
        extra = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(name, field))
            for name, field in config.model_fields.items()
            if typing.get_origin(field.annotation) is not dict
        ]
        run.__signature__ = inspect.Signature([*own, *extra])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in [*own, *extra]}
        return run

    return decorate


def _annotation(name: str, field: FieldInfo) -> Any:
    default = field.get_default()
    text = ",".join(str(part) for part in default) if isinstance(default, list) else default
    shown = "" if default is None or default is False or "default" in (field.description or "") else f" [{text}]"
    flag = f"--{name.replace('_', '-')}"
    complete = completion(name, field.annotation)
    return Annotated[
        _plain(field.annotation) | None, typer.Option(flag, help=f"{field.description}{shown}", autocompletion=complete)
    ]


def _plain(annotation: Any) -> Any:
    """The type that the command line reads; the configuration checks choices and lists."""
    if annotation in PLAIN:
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return _plain(next(part for part in typing.get_args(annotation) if part is not type(None)))
    return str
