"""captioner config: list, write and print config files."""

from __future__ import annotations

import os
from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.shared_options import PATH, config_options
from captioner.config.overrides import Values
from captioner.errors import UsageError

HEADER = "# Every option with its default. Keep the lines that you change and delete the rest.\n"


@click.group("config")
def config() -> None:
    """List, write and print config files.

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
def init(file: Path | None, name: str | None) -> None:
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

    text = HEADER + dump(Config(), comments=True) if name is None else read_shipped(name)
    if file is None or file == Path("-"):
        output.text(text)
        return
    if os.path.lexists(file):
        raise UsageError(f"{file}: exists already; use a new file")
    from captioner.files.atomic import write_file

    write_file(file, text.encode(), lambda: False)
    output.note(f"{file}: written")


@config.command("show")
@config_options
def show(config_file: Path | None, overrides: Values) -> None:
    """Print the effective value of every option as YAML, or all problems at once, with line numbers.

    \b
    Examples:
      captioner config show -o model.decoder=rnn -o train.epochs=3
      captioner config init my.yaml && captioner config show -c my.yaml
    """
    from captioner.config.yaml_io import dump, load

    config = load(config_file, overrides)
    output.warnings(config.ignored.values())
    output.text(dump(config))
