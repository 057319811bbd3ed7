"""Decorators that add shared options to commands."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from captioner.cli.completion import complete_override, complete_run
from captioner.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])


class PathType(click.Path):
    """The type of a path; an empty one is refused, because `Path("")` is the current folder."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if not os.fspath(value):
            self.fail("expected a path, got an empty text", parameter, context)
        return super().convert(value, parameter, context)


PATH = PathType(path_type=Path)
run_argument = click.argument("run", type=PATH, metavar="RUN_OR_CHECKPOINT", shell_complete=complete_run)
runs_argument = click.argument(
    "runs", nargs=-1, required=True, type=PATH, metavar="RUN_OR_CHECKPOINT...", shell_complete=complete_run
)


def config_options(command: Command) -> Command:
    """Add `-c/--config` and `-o/--set`, as the arguments `config_file` and `overrides`."""
    config_file = click.option(
        "-c",
        "--config",
        "config_file",
        type=PATH,
        metavar="CONFIG",
        help="YAML config file, or the name of a shipped config (`captioner config list`).  "
        "[default: built-in defaults]",
    )
    return config_file(override_option(command))


def override_option(command: Command) -> Command:
    """Add a repeatable `-o/--set`, as the argument `overrides`."""
    return example_override_option("model.cell=rnn")(command)


def example_override_option(example: str) -> Callable[[Command], Command]:
    """Return a decorator that adds `-o/--set`, with an example in its help."""
    what = f"Override a config option, such as {example}; may be repeated. The last value of a key is used."
    return _overrides("-o", "--set", "overrides", help=what)


def teacher_override_option(command: Command) -> Command:
    """Add a repeatable `--teacher-set`, as the argument `teacher_overrides`."""
    what = "Override a decoding option of the teachers, such as decode.beam_width=30; may be repeated."
    return _overrides("--teacher-set", "teacher_overrides", used_by="the teachers", help=what)(command)


def _overrides(*names: str, used_by: str = "", help: str) -> Callable[[Command], Command]:
    """Return an option for overrides, which must be used by the command, or by `used_by`."""

    def check(context: click.Context, parameter: click.Parameter, overrides: tuple[str, ...]) -> tuple[str, ...]:
        if overrides:
            from captioner.config.checks import check_used

            check_used(overrides, used_by or context.command_path.partition(" ")[2])
        return overrides

    return click.option(
        *names, multiple=True, metavar="KEY=VALUE", callback=check, shell_complete=complete_override, help=help
    )


def ensemble_option(command: Command) -> Command:
    """Add `--ensemble`."""
    return click.option("--ensemble", is_flag=True, help="Average the word probabilities of all runs, as one model.")(
        command
    )


def data_option(purpose: str) -> Callable[[Command], Command]:
    """Return a decorator that adds `--data`, with its purpose in its help."""
    return click.option(
        "--data",
        type=PATH,
        metavar="FILE",
        help=f"{purpose}: a file written by `captioner prepare`, a folder of CS231n's assignment, or `scenes`. Its "
        "features must be from the same encoder; its vocabulary may differ.",
    )


def images_option(purpose: str) -> Callable[[Command], Command]:
    """Return a decorator that adds `--images`, the folder of the photographs of a data set."""
    return click.option(
        "--images",
        type=PATH,
        metavar="FOLDER",
        help=f"Folder of the photographs for {purpose}; files outside it are not read.",
    )


def images_hint(about: Mapping[str, Any], images: Path | None) -> str:
    """Return what to try if photographs of a data set with this metadata are not in `images`."""
    folder = about.get("images")
    example = f", such as --images {shlex.quote(folder)}" if images is None and isinstance(folder, str) else ""
    return f"set their folder with --images{example}"


def list_option(command: Command) -> Command:
    """Add a repeatable `--list`, as the argument `lists`."""
    return click.option(
        "--list",
        "lists",
        multiple=True,
        metavar="SPLIT=FILE",
        help="Assign the images named in FILE (one name per line) to SPLIT; may be repeated.",
    )(command)


def strict_option(command: Command) -> Command:
    """Add `--strict`."""
    return click.option("--strict", is_flag=True, help="Stop at the first problem instead of skipping it.")(command)


def encoder_options(command: Command) -> Command:
    """Add a repeatable `--encoder-option`, as the dict argument `encoder_option`."""

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
        help="Option of the encoder onnx:FILE: size, mean, scale, layout (nchw or nhwc), or output (its name); "
        "may be repeated.",
    )(command)


def recipe_options(command: Command) -> Command:
    """Add `--encoder`, which replaces the encoder in a checkpoint, and `--encoder-option`."""
    return click.option(
        "--encoder",
        metavar="RECIPE",
        help="Image encoder; needed if the checkpoint's encoder is unknown or its ONNX file is not found.",
    )(encoder_options(command))


def mpi_option(purpose: str) -> Callable[[Command], Command]:
    """Return a decorator that adds `--mpi`, with its purpose in its help."""
    return click.option("--mpi", is_flag=True, help=f"{purpose} Needs the extra mpi.")


photographs_option = mpi_option(
    "Share the photographs among the MPI ranks that mpiexec or srun started. The output is the same."
)
