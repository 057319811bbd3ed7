"""The help documents every command, argument and option; it and shell completion import nothing heavy."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from captioner import cli as command_line
from captioner.cli import cli as root

HEAVY = {"numpy", "h5py", "yaml", "tqdm"}
LOADED = f"""
import sys
import captioner
from captioner.cli import cli

cli.main(["--help"], standalone_mode=False)
print("loaded:", sorted({HEAVY | {"captioner.config"}} & set(sys.modules)))
for words in (*([name] for name in cli.commands), *(["config", name] for name in cli.commands["config"].commands)):
    cli.main([*words, "--help"], standalone_mode=False)
assert captioner.__version__ and dir(captioner)
captioner.Config
print("loaded:", sorted({HEAVY} & set(sys.modules)))
"""


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*path, name))


COMMANDS = dict(walk(root))
SUMMARIES = {name: text for commands in command_line.COMMANDS.values() for name, text in commands.items()}
MODULES = {path.stem for path in Path(command_line.__file__).parent.glob("[a-z]*.py")}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_documents_every_parameter(path: tuple[str, ...], cli: Callable[..., Any]) -> None:
    command, text = COMMANDS[path], cli(*path, "--help").succeeded().out
    assert text.startswith(" ".join(["Usage: captioner", *path]))
    assert "Example" in text
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
        lines = text.partition(f"\n{heading}:\n")[2].partition("\n\n")[0].splitlines()
        assert [line.split(maxsplit=1) for line in lines] == [[*item] for item in commands.items()]


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


def test_the_help_loads_nothing_heavy(shell: Callable[..., Any]) -> None:
    done = shell(code=LOADED)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("loaded:")] == ["loaded: []"] * 2


@pytest.mark.parametrize("path", [(), ("config", "init")], ids=" ".join)
def test_h_is_short_for_help(path: tuple[str, ...], shell: Callable[..., Any], cli: Callable[..., Any]) -> None:
    """Run in a subprocess, because click caches the help option of a command."""
    short = shell(*path, "-h")
    assert (short.returncode, short.stdout) == (0, cli(*path, "--help").out)


def test_completion_loads_nothing_heavy(shell: Callable[..., Any]) -> None:
    code = (
        "import atexit, sys; from captioner.cli import main\n"
        f"atexit.register(lambda: print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr))\n"
        "main()"
    )
    environment = {"_CAPTIONER_COMPLETE": "bash_complete", "COMP_WORDS": "captioner train --ove", "COMP_CWORD": "2"}
    done = shell(code=code, env={**os.environ, **environment})
    assert (done.returncode, done.stdout, done.stderr) == (0, "plain,--overfit\nplain,--overwrite\n", "[]\n")


@pytest.mark.parametrize("words", [("--version",), *((*path, "--help") for path in COMMANDS)], ids=" ".join)
def test_a_full_disk_has_the_message_of_other_output(
    words: tuple[str, ...], cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        assert cli(*words) == (1, "", "captioner: output: No space left on device\n")
