"""The help documents every command, argument and option, and that of the program imports no command."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from captioner import cli as command_line
from captioner.cli import cli as root

LOADED = """
import sys
from captioner.cli import cli
cli.main(["--help"], standalone_mode=False)
heavy = ("captioner.config", "numpy", "h5py", "yaml", "tqdm")
print("loaded:", sorted(name for name in sys.modules if name.startswith(heavy)))
"""


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*path, name))


COMMANDS = dict(walk(root))
SUMMARIES = {name: text for commands in command_line.COMMANDS.values() for name, text in commands.items()}
MODULES = {path.stem for path in Path(command_line.__file__).parent.glob("[a-z]*.py")}
every_command = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)


@every_command
def test_help_goes_to_stdout(path: tuple[str, ...], cli: Callable[..., Any]) -> None:
    done = cli(*path, "--help").succeeded()
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


def test_the_help_lists_every_command_once_below_a_heading(cli: Callable[..., Any]) -> None:
    assert [*SUMMARIES] == root.list_commands(click.Context(root)) == [*root.commands]
    assert len(SUMMARIES) == sum(map(len, command_line.COMMANDS.values()))
    text = cli("--help").out
    for heading, commands in command_line.COMMANDS.items():
        listed = [
            line.split(maxsplit=1) for line in text.partition(f"\n{heading}:\n")[2].partition("\n\n")[0].splitlines()
        ]
        assert listed == [[*item] for item in commands.items()]


def test_every_command_is_in_the_table() -> None:
    """A module with a command that no heading lists is unreachable."""
    for name in MODULES:
        module = importlib.import_module(f"captioner.cli.{name}")
        defined = {value for value in vars(module).values() if isinstance(value, click.Command)}
        assert defined <= {*COMMANDS.values()}, name


@pytest.mark.parametrize("name", root.commands)
def test_the_summary_of_a_command_is_the_first_sentence_of_its_help(name: str) -> None:
    command = root.commands[name]
    assert command.name == name
    assert command.get_short_help_str(limit=200) == SUMMARIES[name]


def test_the_help_imports_no_command(shell: Callable[..., Any]) -> None:
    assert shell(code=LOADED).stdout.splitlines()[-1] == "loaded: []"


def test_an_unknown_command_is_not_imported(cli: Callable[..., Any]) -> None:
    done = cli("output")
    assert (done.code, done.err) == (2, "captioner: No such command 'output'; see captioner --help\n")


@pytest.mark.parametrize("path", [(), ("config", "init")], ids=" ".join)
def test_h_is_short_for_help(path: tuple[str, ...], shell: Callable[..., Any]) -> None:
    """Run in a subprocess, because click caches the help option of a command."""
    short, long = (shell(*path, option) for option in ("-h", "--help"))
    assert (short.returncode, short.stdout) == (0, long.stdout)
    assert short.stdout.startswith(" ".join(["Usage: captioner", *path]))
