"""The help documents every command, argument and option."""

from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest

from captioner.cli import cli as root


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*path, name))


COMMANDS = dict(walk(root))
every_command = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)


@every_command
def test_help_goes_to_stdout(path: tuple[str, ...], cli: Callable[..., Any]) -> None:
    done = cli(*path, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(" ".join(["Usage: captioner", *path]))
    assert "Example" in done.out


@every_command
def test_every_parameter_is_documented(path: tuple[str, ...], cli: Callable[..., Any]) -> None:
    command, text = COMMANDS[path], cli(*path, "--help").out
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert all(option in text for option in parameter.opts)
        else:
            assert text.count(parameter.make_metavar(click.Context(command)).strip("[].")) >= 2, "in usage and prose"


def test_the_help_lists_every_command_with_a_sentence(cli: Callable[..., Any]) -> None:
    listed = cli("--help").out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == sorted(root.commands)
    assert all(line.endswith(".") and not line.endswith("..") for line in listed)


@pytest.mark.parametrize("path", [(), ("config", "init")], ids=" ".join)
def test_h_is_short_for_help(path: tuple[str, ...], shell: Callable[..., Any]) -> None:
    """Run in a subprocess, because click caches the help option of a command."""
    short, long = (shell(*path, option) for option in ("-h", "--help"))
    assert (short.returncode, short.stdout) == (0, long.stdout)
    assert short.stdout.startswith(" ".join(["Usage: captioner", *path]))
