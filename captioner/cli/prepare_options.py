"""The options of `captioner prepare` that `config.options.Prepare` describes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from captioner.cli.options import PATH, Command
from captioner.config.options import Prepare
from captioner.config.schema import Option, build, options


def prepare_options(command: Command) -> Command:
    """Add the options of `config.options.Prepare`, as arguments of the same names."""
    for option in reversed(options(Prepare)):
        command = _prepare_option(option)(command)
    return command


def _prepare_option(option: Option) -> Callable[[Command], Command]:
    def check(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if not option.admits(value):
            raise click.BadParameter(f"expected {option.expected()}, got {value}")
        return value

    kinds: dict[type, Any] = {bool: bool, int: int, float: float, str: str, Path: PATH}
    return click.option(
        "--" + option.path.replace("_", "-"),
        is_flag=option.kind is bool,
        type=click.Choice(option.choices) if option.choices else kinds[option.kind],
        default=option.default,
        show_default=option.default is not None and option.kind is not bool,
        metavar="PATH" if option.kind is Path else "N" if " N " in option.doc else None,
        callback=check,
        help=f"{option.doc[0].upper()}{option.doc[1:]}.".replace("].", "]"),
    )


def prepare_config(values: dict[str, Any]) -> Prepare:
    """Build a `Prepare` from the arguments that `prepare_options` adds."""
    prepare: Prepare = build(values, Prepare)
    return prepare
