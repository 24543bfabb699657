"""The app that all commands belong to. They import torch only when they run, so that `--help` answers at once."""

from typing import Annotated

import typer

from drkd._version import __version__

app = typer.Typer(
    help="A better classifier without a bigger teacher: self-distillation with rectified targets, compared in pairs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _start(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        print(__version__)
