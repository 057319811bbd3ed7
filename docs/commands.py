"""Generate docs/commands.md from the `--help` of every command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from captioner.cli import cli

HEADER = "# Commands\n\nGenerated from `--help` by `make docs`; a test checks that it is up to date.\n"
WIDTH = 78  # click's text width in a terminal of 80 columns


def sections(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the section of a command and of its subcommands, in the order of the help."""
    yield f"\n## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            subcommand = command.get_command(context, name)
            assert subcommand is not None
            yield from sections(subcommand, click.Context(subcommand, context, name))


def render() -> str:
    """Render the page."""
    context = click.Context(cli, info_name="captioner", terminal_width=WIDTH, **cli.context_settings)
    return HEADER + "".join(sections(cli, context))


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(render())
