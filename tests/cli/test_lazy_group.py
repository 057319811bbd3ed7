"""The help of the program imports no command, and is that of a plain group."""

from collections.abc import Callable
from typing import Any

import click
import pytest

from captioner.cli import COMMANDS
from captioner.cli import cli as root

LOADED = """
import sys
from captioner.cli import cli
cli.main(["--help"], standalone_mode=False)
print("loaded:", sorted(name for name in sys.modules if name.startswith("captioner.config")))
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_of_a_command_is_the_first_sentence_of_its_help(name: str) -> None:
    command = root.commands[name]
    assert command.name == name
    assert command.get_short_help_str(limit=200) == COMMANDS[name]


def test_the_list_is_that_of_a_plain_group() -> None:

    plain = click.Group("captioner", commands=dict(root.commands))
    formatters = [click.Context(root).make_formatter() for _ in range(2)]
    root.format_commands(click.Context(root), formatters[0])
    plain.format_commands(click.Context(plain), formatters[1])
    assert formatters[0].getvalue() == formatters[1].getvalue()


def test_the_help_imports_no_option(shell: Callable[..., Any]) -> None:
    assert shell(code=LOADED).stdout.splitlines()[-1] == "loaded: []"


def test_an_unknown_command_is_not_imported(cli: Callable[..., Any]) -> None:
    done = cli("output")
    assert (done.code, done.err) == (2, "captioner: No such command 'output'; see captioner --help\n")
