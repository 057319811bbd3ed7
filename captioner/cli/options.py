"""Options that several commands share, as decorators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def config_options(command: Command) -> Command:
    """Give a command `-c/--config` and `-o/--set`, as its arguments `config_file` and `overrides`."""
    config_file = click.option(
        "-c",
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="YAML file of options; without it, the defaults.",
    )
    return config_file(override_option(command))


def override_option(command: Command) -> Command:
    """Give a command a repeatable `-o/--set`, as its argument `overrides`."""
    return click.option(
        "-o",
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set one option, such as model.cell=rnn; may be repeated, and the last wins.",
    )(command)
