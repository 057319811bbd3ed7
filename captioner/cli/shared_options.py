"""Options that several commands share, as decorators."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from captioner.config.checks import check_used
from captioner.config.option_table import OPTIONS, PREPARE_OPTIONS, Option
from captioner.config.overrides import Values, read_overrides
from captioner.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])


def grouped(**groups: type[Any]) -> Callable[[Command], Command]:
    """Return a decorator that passes options to a command in dataclasses: each one has its options as fields."""

    def group(command: Callable[..., Any]) -> Any:
        @functools.wraps(command)
        def call(**values: Any) -> Any:
            parts = {
                name: kind(**{field.name: values.pop(field.name) for field in dataclasses.fields(kind)})
                for name, kind in groups.items()
            }
            return command(**values, **parts)

        return call

    return group


class PathType(click.Path):
    """The type of a path; an empty one is refused, because `Path("")` is the current folder."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if not os.fspath(value):
            self.fail("expected a path, got an empty text", parameter, context)
        return super().convert(value, parameter, context)


def examples(*commands: str) -> str:
    """Return the end of the help of a command: examples, without the name of the program."""
    return "\b\nExamples:\n" + "\n".join(f"  captioner {command}" for command in commands)


# An unreadable file is reported when it is read, so that the other photographs are captioned.
PATH = PathType(path_type=Path, readable=False)
run_argument = click.argument("run", type=PATH, metavar="RUN_OR_MODEL")
runs_argument = click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN_OR_MODEL...")


def example_override_option(example: str) -> Callable[[Command], Command]:
    """Return a decorator that adds `-o/--set`, with an example in its help; the command must use each override."""

    def values_of(texts: tuple[str, ...]) -> Values:
        values = read_overrides(texts)
        check_used(values, click.get_current_context().command_path.partition(" ")[2])
        return values

    what = f"Override a config option, such as {example}; may be repeated. The last value of a key is used."
    return click.option(
        "-o", "--set", "overrides", multiple=True, metavar="KEY=VALUE", callback=overriding(values_of),
        expose_value=False, help=what,
    )  # fmt: skip


def overriding(values_of: Callable[[Any], Values]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return the callback of a parameter that overrides config options with the values that `values_of` returns.

    The values of all parameters of a command are passed as `overrides`; the command must also have `-o`.

    Raises: UsageError for a parameter that sets an option which another one sets to another value.
    """

    def override(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        overrides, origins = context.params.setdefault("overrides", {}), context.meta.setdefault(__name__, {})
        if context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE:
            name = (
                parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name.strip("[]")
            )
            for path, own in values_of(value).items():
                if overrides.setdefault(path, own) != own:
                    other = name if name != "-o" else origins[path]
                    raise UsageError(f"-o {path}: {other} sets it already; use one of them")
                origins[path] = name
        return value

    return override


def caption_options(*names: str) -> Callable[[Command], Command]:
    """Return a decorator that adds flags for options of the section `caption`."""

    def add(command: Command) -> Command:
        for name in reversed(names):
            path = f"caption.{name}"
            keep = overriding(partial(_single, path))
            command = _table_option(name, OPTIONS[path], keep, expose_value=False)(command)
        return command

    return add


def _single(path: str, value: Any) -> Values:
    return {path: value}


override_option = example_override_option("model.decoder=rnn")


def config_options(command: Command) -> Command:
    """Add `-c/--config` and `-o/--set`, as the arguments `config_file` and `overrides`."""
    what = "YAML config file, or the name of a shipped config (`captioner config list`).  [default: built-in defaults]"
    return click.option("-c", "--config", "config_file", type=PATH, metavar="CONFIG", help=what)(
        override_option(command)
    )


ensemble_option = click.option(
    "--ensemble", is_flag=True, help="Average the word probabilities of all runs, as one model."
)
recipe_option = click.option(
    "--encoder", metavar="RECIPE",
    help="Image encoder; needed if the checkpoint's encoder is unknown or its ONNX file is not found.",
)  # fmt: skip
list_option = click.option(
    "--list", "lists", multiple=True, metavar="SPLIT=FILE",
    help="Assign the images named in FILE (one name per line) to SPLIT; may be repeated.",
)  # fmt: skip


def data_option(purpose: str) -> Callable[[Command], Command]:
    """Return a decorator that adds `--data`, with its purpose in its help."""
    what = (
        f"{purpose}: a file written by `captioner prepare`, a folder of CS231n's assignment, or `scenes`. Its features "
        "must be from the same encoder; its vocabulary may differ."
    )
    return click.option("--data", type=PATH, metavar="FILE", help=what)


def prepare_options(command: Command) -> Command:
    """Add the options of `config.options.Prepare`, for `grouped`."""
    for option in reversed(PREPARE_OPTIONS.values()):
        command = _table_option(option.path, option, default=option.default)(command)
    return command


def _table_option(
    name: str, option: Option, keep: Callable[..., Any] = lambda context, parameter, value: value, **settings: Any
) -> Callable[[Command], Command]:
    """Return a decorator that adds an option of the table as `--name`; `keep` is called with its checked value."""

    def check(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value is not None and not option.admits(value):
            raise click.BadParameter(f"expected {option.expected()}, got {value}")
        return keep(context, parameter, value)

    is_flag = option.kind is bool  # without a type: click 8.2.0 ignores flags that have one
    other = click.Choice(option.choices) if option.choices else PATH if option.kind is Path else option.kind
    return click.option(
        "--" + name.replace("_", "-"),
        is_flag=is_flag or None,  # with False, click lets a value be left out
        type=None if is_flag else other,
        metavar="PATH" if option.kind is Path else "N" if " N " in option.doc else None,
        callback=check,
        multiple=option.multiple,
        help=f"{option.doc[0].upper()}{option.doc[1:]}.".replace("].", "]"),
        **settings,
    )
