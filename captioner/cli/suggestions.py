"""Suggestions for usage errors: the command, or the config option, that was probably meant."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from captioner.config.checks import is_used
from captioner.config.option_table import OPTIONS
from captioner.config.values import nearest_option
from captioner.errors import similar

SIMILARITY = 0.8
"""The minimum similarity of a name to the name that is suggested for it."""
SYNONYMS = {"caption": "sample", "predict": "sample", "generate": "sample", "fit": "train", "score": "evaluate"}
"""Names of commands in other programs."""
TRAIN_OPTIONS = {".yaml": "-c", ".yml": "-c", ".h5": "--data"}
"""The option of `captioner train` for a file with a suffix."""


def message(error: click.ClickException, words: Sequence[str]) -> str:
    """Return the message of a usage error, with a suggestion if there is one; `words` are the command line."""
    context: click.Context | None = getattr(error, "ctx", None)
    text = error.format_message().rstrip(".").replace("\n\t", " ")  # click lists choices line by line
    if context is None:
        return text
    if isinstance(context.command, click.Group):
        return text if context.parent is not None else _for_command(text, context.command, words)
    path = context.command_path.split()[1:]
    rest = words[len(path) :]
    if isinstance(error, click.NoSuchOption):
        return _for_option(error, context.command, " ".join(path), rest) or text
    return _for_argument(context, rest) or text if type(error) is click.UsageError else text


def _for_command(text: str, group: click.Group, words: Sequence[str]) -> str:
    """Suggest a command for an unknown name; click suggests none for a synonym, and before 8.4 none at all."""
    problem, quote, _ = text.partition("'")
    nearest = similar(words[0], [*group.commands, *SYNONYMS]) if problem == "No such command " and words else []
    if not nearest:
        return text
    return f"{problem}{quote}{words[0]}'; did you mean captioner {SYNONYMS.get(nearest[0], nearest[0])}?"


def _for_option(error: click.NoSuchOption, command: click.Command, name: str, words: Sequence[str]) -> str:
    """Suggest `-o` for an unknown option that has the name of a config option, or a similar one."""
    flag = error.option_name
    place = next((place for place, word in enumerate(words) if word.partition("=")[0] == flag), None)
    if place is None or all(parameter.name != "overrides" for parameter in command.params):
        return ""
    _, equals, value = words[place].partition("=")
    following = words[place + 1] if place + 1 < len(words) else ""
    is_misspelt = bool(similar(flag, error.possibilities or (), SIMILARITY))
    key = flag.lstrip("-").lower().replace("-", "_")
    used = [path for path in OPTIONS if is_used(path, name)]
    path = nearest_option(key, used, 1 if is_misspelt else SIMILARITY)
    if path is None:
        return ""
    if not equals and not following.startswith("--"):
        value = following
    value = value or ("true" if OPTIONS[path].kind is bool else "VALUE")
    return f"No such option '{flag}'; try -o {shlex.quote(f'{path}={value}')}"


def _for_argument(context: click.Context, words: Sequence[str]) -> str:
    """Suggest an option for an unexpected argument."""
    _, extra, _ = context.command.make_parser(context).parse_args(list(words))
    if not extra:
        return ""
    word = extra[0]
    option = "-o" if word.partition("=")[0] in OPTIONS else None
    if context.command.name == "train":
        option = option or TRAIN_OPTIONS.get(Path(word).suffix.lower())
    return f"Got unexpected extra argument ({word})" + (
        f"; did you mean {option} {shlex.quote(word)}?" if option else ""
    )
