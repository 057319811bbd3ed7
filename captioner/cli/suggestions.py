"""Suggestions for usage errors: the option, or the command, that was probably meant."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from captioner.config.checks import is_used
from captioner.config.option_table import OPTIONS, PREPARE_OPTIONS
from captioner.config.values import nearest_option
from captioner.errors import similar

SIMILARITY = 0.8
"""The minimum similarity of a name to the name that is suggested for it."""
SYNONYMS = {"caption": "sample", "predict": "sample", "generate": "sample", "fit": "train", "score": "evaluate"}
"""Names of commands in other programs."""
DATA_SETS = (".h5", ".hdf5")
TRAIN_OPTIONS = dict.fromkeys((".yaml", ".yml"), "-c") | dict.fromkeys(DATA_SETS, "--data")
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
    command, rest = " ".join(path), words[len(path) :]
    match error:
        case click.NoSuchOption():
            return _for_option(error, context.command, command, rest) or text
        case click.MissingParameter(param=click.Option(name="file")) if command == "prepare":
            return "; ".join(filter(None, (text, _for_output(rest))))
        case _ if type(error) is click.UsageError:
            return _for_argument(context, command, rest) or text
    return text


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
    place = next((place for place, word in enumerate(words) if _is_flag(word, flag)), None)
    if place is None:
        return ""
    following = words[place + 1] if place + 1 < len(words) else ""
    if name == "prepare" and flag == "-o":
        value = words[place].removeprefix(flag) or following or "FILE"
        return f"No such option '-o'; did you mean {_prepare_option(value)}?"
    word, equals, value = words[place].partition("=")
    takes_overrides = any(parameter.name == "overrides" for parameter in command.params)
    key = word.lstrip("-").lower().replace("-", "_")
    is_misspelt = bool(similar(flag, error.possibilities or (), SIMILARITY))
    used = [path for path in OPTIONS if takes_overrides and is_used(path, name)]
    path = nearest_option(key, used, 1 if is_misspelt else SIMILARITY)
    if path is None:
        return ""
    if not equals and not following.startswith("--"):
        value = following
    value = value or ("true" if OPTIONS[path].kind is bool else "VALUE")
    return f"No such option '{word}'; try -o {shlex.quote(f'{path}={value}')}"


def _is_flag(word: str, flag: str) -> bool:
    """Return whether a word is an option, alone or with its value: --epochs, --epochs=1, or -ob (-o for click)."""
    return word == flag or word.startswith(f"{flag}=") or (len(flag) == 2 and word.startswith(flag))


def _prepare_option(value: str) -> str:
    """Return the option of `captioner prepare` for the value of `-o`."""
    key, equals, rest = value.partition("=")
    if equals and key.replace("-", "_") in PREPARE_OPTIONS:
        return f"--{key.replace('_', '-')} {shlex.quote(rest)}"
    return f"--output {shlex.quote(value)}"


def _for_argument(context: click.Context, command: str, words: Sequence[str]) -> str:
    """Suggest an option, or another command, for an unexpected argument."""
    from captioner.data.caption_readers import CAPTION_SUFFIXES

    _, extra, _ = context.command.make_parser(context).parse_args(list(words))
    if not extra:
        return ""
    word, is_folder = extra[0], os.path.isdir(extra[0])
    problem = f"Got unexpected extra argument ({word})"
    if word.partition("=")[0] in OPTIONS:
        return f"{problem}; did you mean -o {shlex.quote(word)}?"
    if command != "train":
        return ""
    folder = Path(word) if is_folder else Path(word).parent
    if os.path.exists(word) and os.path.isfile(folder / "last.h5"):
        return f"{problem}; did you mean --resume {shlex.quote(os.fspath(folder))}?"
    suffix = Path(word).suffix.lower()
    if suffix in TRAIN_OPTIONS:
        return f"{problem}; did you mean {TRAIN_OPTIONS[suffix]} {shlex.quote(word)}?"
    if suffix in CAPTION_SUFFIXES or is_folder or word.endswith("/"):
        return f"{problem}; prepare a data set first: {_prepare_command(word)}"
    return ""


def _for_output(words: Sequence[str]) -> str:
    """Suggest the missing option `--output` of `captioner prepare`."""
    from captioner.data.caption_readers import CAPTION_SUFFIXES, caption_files, caption_files_hint

    for word in sorted(words, key=lambda word: Path(word).suffix.lower() not in DATA_SETS):
        if Path(word).suffix.lower() in DATA_SETS:
            return f"did you mean --output {shlex.quote(word)}?"
        if os.path.isdir(word) and not caption_files(word):
            return f"{word} is a folder; {caption_files_hint(word)}"
        if Path(word).suffix.lower() in CAPTION_SUFFIXES or os.path.isdir(word):
            return f"try {_prepare_command(word)}"
    return ""


def _prepare_command(source: str) -> str:
    """Return the command that prepares a caption file, or the first caption file of a folder."""
    from captioner.data.caption_readers import caption_files

    if os.path.isdir(source) or source.endswith("/"):
        source = next(iter(caption_files(source)), os.path.join(source, "captions.csv"))
    name = Path(source).parent.name or Path(source).stem
    return shlex.join(["captioner", "prepare", source, "--output", f"{name}.h5"])
