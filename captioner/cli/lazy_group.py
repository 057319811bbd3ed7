"""A click group that imports each command when it is needed."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Iterable, Mapping
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click


class LazyCommands(UserDict[str, Any]):
    """Commands by name, each imported on first use from the module of its name in `captioner.cli`.

    The module and function of a command whose name is a keyword of Python end in `_`.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(dict.fromkeys(names))

    def __getitem__(self, name: str) -> click.Command:
        if self.data[name] is None:
            module = f"{name}_" if iskeyword(name) else name
            self.data[name] = getattr(import_module(f"captioner.cli.{module}"), module)
        command: click.Command = self.data[name]
        return command


class LazyGroup(click.Group):
    """A group of commands, given as names and the first sentences of their help; its own help imports none of them."""

    def __init__(self, summaries: Mapping[str, str], **options: Any) -> None:
        super().__init__(commands=LazyCommands(summaries), **options)
        self.summaries = summaries

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(self.summaries.items()))
