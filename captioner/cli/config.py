"""captioner config: write, show and check the options of a run."""

from __future__ import annotations

from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.options import config_options, override_option

HEADER = "# Every option with its default. Keep the lines that you change, and delete the others.\n"


@click.group("config")
def config() -> None:
    """Write, show and check the options of a run.

    \b
    Example:
      captioner config show -o model.cell=rnn
    """


@config.command("init")
@click.argument("file", required=False, type=click.Path(path_type=Path))
def init(file: Path | None) -> None:
    """Write all options, with defaults, bounds and comments, to FILE, or to stdout without one or for -.

    A FILE that exists is left unchanged.

    \b
    Example:
      captioner config init my.yaml
    """
    from captioner.config.options import Config
    from captioner.config.yaml_io import dump
    from captioner.errors import CaptionerError, UsageError

    text = HEADER + dump(Config(), comments=True)
    if file is None or file == Path("-"):
        output.text(text)
        return
    try:
        with open(file, "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise UsageError(f"{file}: exists already and is left as it is; name a new file") from None
    except OSError as error:
        raise CaptionerError(f"{file}: cannot be written: {error.strerror}") from None
    output.note(f"{file}: written")


@config.command("show")
@config_options
def show(config_file: Path | None, overrides: tuple[str, ...]) -> None:
    """Print all options as they take effect, as YAML.

    \b
    Example:
      captioner config show -o model.cell=rnn -o train.epochs=3
    """
    from captioner.config.yaml_io import dump, load

    output.text(dump(load(config_file, overrides)))


@config.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@override_option
def check(file: Path, overrides: tuple[str, ...]) -> None:
    """Read FILE, and say what is wrong in it: every problem, with its line.

    \b
    Example:
      captioner config init my.yaml && captioner config check my.yaml
    """
    from captioner.config.yaml_io import load

    load(file, overrides)
    output.result(f"{file}: ok")
