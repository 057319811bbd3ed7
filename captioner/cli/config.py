"""captioner config: list, write, print and check config files, and write their JSON Schema."""

from __future__ import annotations

import os
from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.shared_options import PATH, config_options, override_option
from captioner.errors import UsageError, printable

HEADER = "# Every option with its default. Keep the lines that you change and delete the rest.\n"


@click.group("config")
def config() -> None:
    """List, write, print and check config files.

    \b
    Example:
      captioner config show -o model.decoder=rnn
    """


@config.command("list")
def list_() -> None:
    """List the shipped configs: name and content.

    \b
    Example:
      captioner config list
    """
    from captioner.config.yaml_io import description, shipped

    configs = shipped()
    width = max(map(len, configs))
    for name, path in configs.items():
        output.result(f"{name:<{width}}  {description(path)}")


@config.command("init")
@click.argument("file", required=False, type=PATH)
@click.option("--from", "name", metavar="NAME", help="Copy the shipped config NAME (`captioner config list`).")
@click.option(
    "--schema", type=PATH, metavar="SCHEMA",
    help="Begin with a comment that names SCHEMA, a file written by `captioner config schema`: editors with a YAML "
    "language server then check and complete the options.",
)  # fmt: skip
def init(file: Path | None, name: str | None, schema: Path | None) -> None:
    """Write all options with their defaults, or copy a shipped config.

    Comments document the options and their valid values. Without FILE, or if FILE is -, write to stdout. An existing
    FILE is never replaced.

    \b
    Examples:
      captioner config init my.yaml
      captioner config init --from photos my-photos.yaml
    """
    from captioner.config.options import Config
    from captioner.config.yaml_io import dump, read_shipped

    comment = "" if schema is None else f"# yaml-language-server: $schema={_schema_path(schema, file)}\n"
    _write(file, comment + (HEADER + dump(Config(), comments=True) if name is None else read_shipped(name)))


def _schema_path(schema: Path, file: Path | None) -> str:
    """Return the path of a schema relative to the folder of a config file, as YAML language servers expect it."""
    if not schema.is_file():
        raise UsageError(f"--schema {schema}: file not found; write it with captioner config schema {schema}")
    path = os.path.relpath(schema, "." if file is None else file.parent)
    if path.split() != [path] or path != printable(path) or "#" in path:
        raise UsageError(f"--schema {schema}: expected a path without spaces, # and control characters")
    return path


def _write(file: Path | None, text: str) -> None:
    """Write a text to a new file, or to stdout if `file` is None or -."""
    if file is None or file == Path("-"):
        output.text(text)
        return
    if os.path.lexists(file):
        raise UsageError(f"{file}: exists already; name a new file")
    from captioner.storage.atomic import write_file

    write_file(file, text.encode())
    output.note(f"{file}: written")


@config.command("schema")
@click.argument("file", required=False, type=PATH)
def schema(file: Path | None) -> None:
    """Write the JSON Schema of config files.

    Editors and validators use the schema (draft 2020-12) to check a config file and to complete its options. Without
    FILE, or if FILE is -, write to stdout. An existing FILE is never replaced.

    \b
    Example:
      captioner config schema config.schema.json && captioner config init my.yaml --schema config.schema.json
    """
    from captioner.config.option_table import json_schema
    from captioner.storage.strict_json import to_json

    _write(file, to_json(json_schema(), indent=2) + "\n")


@config.command("show")
@config_options
def show(config_file: Path | None, overrides: tuple[str, ...]) -> None:
    """Print the effective value of every option as YAML.

    \b
    Example:
      captioner config show -o model.decoder=rnn -o train.epochs=3
    """
    from captioner.config.yaml_io import dump, load

    output.text(dump(load(config_file, overrides)))


@config.command("check")
@click.argument("file", type=PATH)
@override_option
def check(file: Path, overrides: tuple[str, ...]) -> None:
    """Check FILE and report all problems at once, with line numbers.

    \b
    Example:
      captioner config init my.yaml && captioner config check my.yaml
    """
    from captioner.config.yaml_io import load

    load(file, overrides)
    output.result(f"{file}: ok")
