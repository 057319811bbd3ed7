"""Write docs/commands.md: every command, with the text of its `--help`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from captioner.cli import cli

HEADER = "# Commands\n\nWritten from the commands' own help by `make docs`; tests hold it to that.\n"
WIDTH = 78  # what click takes of a terminal of 80 columns


def sections(command: click.Command, context: click.Context) -> Iterator[str]:
    """The section of a command, and of those below it, in the order of the help."""
    yield f"\n## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from sections(below, click.Context(below, context, name))


def render() -> str:
    """The whole page."""
    return HEADER + "".join(sections(cli, click.Context(cli, info_name="captioner", terminal_width=WIDTH)))


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(render())
