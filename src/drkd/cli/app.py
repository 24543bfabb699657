"""The app that all commands belong to. They import torch only when they run, so that `--help` answers at once."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from drkd._version import __version__
from drkd.cli.answers import answering


class App(typer.Typer):
    """Commands that all take `--quiet` and `--json`; see `drkd.cli.answers`."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """As typer's."""
        register = super().command(name, **options)

        def add(function: Any) -> Any:
            register(answering(function))
            return function

        return add


app = App(
    help="Better classifiers without a bigger teacher: self-distillation with rectified targets, compared in pairs.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _start(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        print(__version__)
