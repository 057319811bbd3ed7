"""Options that several commands share, as decorators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from captioner.config.options import Prepare
from captioner.config.schema import Option, build, options
from captioner.errors import UsageError

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


def prepare_options(command: Command) -> Command:
    """Give a command the options of `config.Prepare`, an option a line there, as keywords of their names."""
    for option in reversed(options(Prepare)):
        command = _prepare_option(option)(command)
    return command


def _prepare_option(option: Option) -> Callable[[Command], Command]:
    def check(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if not option.admits(value):
            raise click.BadParameter(f"expected {option.expected()}, got {value}")
        return value

    kinds: dict[type, Any] = {int: int, float: float, str: str, Path: click.Path(path_type=Path)}
    return click.option(
        "--" + option.path.replace("_", "-"),
        type=click.Choice(option.choices) if option.choices else kinds[option.kind],
        default=option.default,
        show_default=option.default is not None,
        metavar=None if option.kind is not Path else "PATH",
        callback=check,
        help=f"{option.doc[0].upper()}{option.doc[1:]}.".replace("].", "]"),
    )


def chosen(values: dict[str, Any]) -> Prepare:
    """The values of these options."""
    prepare: Prepare = build(values, Prepare)
    return prepare


def list_option(command: Command) -> Command:
    """Give a command a repeatable `--list`, as its argument `lists`."""
    return click.option(
        "--list",
        "lists",
        multiple=True,
        metavar="SPLIT=FILE",
        help="Images of a split, a name a line; may be repeated.",
    )(command)


def strict_option(command: Command) -> Command:
    """Give a command `--strict`."""
    return click.option("--strict", is_flag=True, help="Stop at the first flaw instead of leaving it out.")(command)


def encoder_options(command: Command) -> Command:
    """Give a command a repeatable `--encoder-option`, as its argument `encoder_option`: a dict."""

    def parse(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
        pairs = [value.partition("=") for value in values]
        for value, (key, equals, _) in zip(values, pairs, strict=True):
            if not key or not equals:
                raise UsageError(f"--encoder-option {value}: expected KEY=VALUE, such as size=224")
        return {key: value for key, _, value in pairs}

    return click.option(
        "--encoder-option",
        multiple=True,
        metavar="KEY=VALUE",
        callback=parse,
        help="Of onnx:FILE: size, mean, scale, layout or output, where the model does not tell; may be repeated.",
    )(command)
