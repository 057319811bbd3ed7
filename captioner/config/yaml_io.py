"""Read a Config from YAML and `-o` overrides, write one, and find the configs that are shipped with captioner.

All problems are reported at once, each with its line and a suggestion. The accepted subset of YAML 1.2 is nested
`name: value` lines without anchors, aliases, tags, directives or tabs, limited in size and depth, so that no text can
hang the parser. Relative paths start at the folder of the file, or at the current folder in an override and in a
shipped config. The last override of an option wins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, chain
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from captioner.config.checks import CONSTRAINTS, unused
from captioner.config.option_table import OPTIONS, Option, build, sections
from captioner.config.options import Config
from captioner.config.values import MAX_SHOWN, Scalar, closest, forbidden, read, write
from captioner.errors import ConfigError, printable
from captioner.files.user_files import read_bytes

PACKAGE, REPOSITORY = Path(__file__).parents[1:3]
FOLDER = (PACKAGE if (PACKAGE / "configs").is_dir() else REPOSITORY) / "configs"
"""The shipped configs: a folder of the repository, of which a wheel contains a copy in the package."""
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SECTIONS: Mapping[str, str] = sections()
MAX_CHARS, MAX_DEPTH, MAX_PROBLEMS = 65_536, 8, 50
# Unsupported YAML features: a test of a parse event, and the name of the feature.
UNSUPPORTED: Sequence[tuple[Callable[[Any], Any], str]] = (
    (lambda event: isinstance(event, yaml.AliasEvent), "alias (*name)"),
    (lambda event: not isinstance(event, yaml.AliasEvent) and getattr(event, "anchor", None), "anchor (&name)"),
    (lambda event: getattr(event, "tag", None), "tag (!name)"),
    (lambda event: getattr(event, "version", None) or getattr(event, "tags", None), "directive (%NAME)"),
)


class Setting(NamedTuple):
    """An option as the user wrote it: its place and label in messages, and its scalar or problem."""

    place: str
    label: str
    path: str
    content: Scalar | str


def load(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read the Config of a file, or the defaults if `path` is None, with `key=value` overrides.

    `path` may also be the name of a shipped config; a file of this name is used before it.

    Raises: ConfigError with one line per problem.
    """
    if path is None:
        return parse("", "", overrides)
    configs = shipped()
    file = path if os.path.isfile(path) else configs.get(str(path), path)
    is_shipped = os.path.isfile(file) and any(os.path.samefile(file, other) for other in configs.values())
    return parse(_read_file(file), str(path), overrides, None if is_shipped else file.parent)


def parse(text: str, name: str, overrides: Sequence[str] = (), folder: Path | None = None) -> Config:
    """Read the Config of a YAML text, called `name` in messages, with `key=value` overrides.

    Decoding options can be overridden for any run: one that becomes ineffective is reset to its default. Any other
    override without effect is a problem. Relative paths in the text start at `folder`, or at the current folder if
    `folder` is None.

    Raises: ConfigError with one line per problem.
    """
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    problems: list[str] = []
    invalid: set[str] = set()
    of_overrides = [*map(_of_override, overrides)]
    for place, label, path, content in chain(_of_text(text, printable(name), folder), of_overrides):
        value, problem = (None, content) if isinstance(content, str) else read(OPTIONS[path], content)
        if problem is None:
            values[path], places[path] = value, place
            continue
        invalid.add(path)
        problems.append(f"{label}: {problem}")
        if len(problems) == MAX_PROBLEMS:
            raise ConfigError((*problems, f"stopped after {MAX_PROBLEMS} problems; there may be more"))
    config: Config = build(values)
    overridden = dict.fromkeys(setting.path for setting in of_overrides)
    for constraint in CONSTRAINTS:
        if not invalid & {constraint.option, constraint.other} and not constraint.holds(config):
            if constraint.reset and constraint.other in overridden and constraint.option not in overridden:
                del values[constraint.option]
                overridden[constraint.option] = None
                config = build(values)
                continue
            where = places.get(constraint.option) or places.get(constraint.other)
            problems.append(": ".join(filter(None, (where, constraint.option, constraint.describe(config)))))
    for path, other, problem in unused(config, overridden):
        if not invalid & {path, other}:
            problems.append(f"{places[path]}: {path}: {problem}")
    if problems:
        raise ConfigError(problems)
    return config


def dump(config: Config, *, comments: bool = False) -> str:
    """Write a Config as YAML that `parse` reads back to an equal Config, optionally with a comment on every option."""
    lines = _lines(config, OPTIONS.values())
    return "".join(f"{line:<32} # {comment}\n" if comments else f"{line}\n" for line, comment in lines)


def config_differences(config: Config) -> str:
    """Return the options that differ from their defaults, as a config file. File paths are omitted."""
    changed = [
        option
        for option in OPTIONS.values()
        if option.kind is not Path and attrgetter(option.path)(config) != option.default
    ]
    return "".join(f"{line}\n" for line, _ in _lines(config, changed))


def _lines(config: Config, options: Iterable[Option]) -> Iterator[tuple[str, str]]:
    """Yield the line of each option, after those of its sections, with a comment."""
    written: set[str] = set()
    for option in options:
        *parents, name = option.path.split(".")
        for level, section in enumerate(accumulate(parents, "{}.{}".format)):
            if section not in written:
                written.add(section)
                yield f"{'  ' * level}{parents[level]}:", SECTIONS[section]
        value = write(option, attrgetter(option.path)(config))
        yield f"{'  ' * len(parents)}{name}: {value}", f"{option.doc}; {option.expected()}"


def _read_file(path: Path) -> str:
    try:
        data = read_bytes(path, 4 * MAX_CHARS, lambda problem: ConfigError([problem]))
    except ConfigError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        is_name = not path.suffix and len(path.parts) == 1
        other = "config list prints the shipped configs" if is_name else "config init FILE writes a new one"
        hint = closest(path.stem, shipped()) or f" (captioner {other})"
        raise ConfigError([f"{path}: not found{hint}"]) from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise ConfigError([f"{path}:{line}: expected UTF-8 text, got the byte 0x{data[error.start]:02x}"]) from None


def _of_text(text: str, name: str, folder: Path | None) -> Iterator[Setting]:
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    entries: Iterable[tuple[int, str, Scalar | str]] = [*_syntax_problems(text)]
    if not entries and (root := yaml.compose(text, LOADER)) is not None:
        entries = _section(root, "", 1)
    for line, path, content in entries:
        place = f"{name}:{line}"
        label = f"{place}: {printable(path, MAX_SHOWN)}" if path else place
        yield Setting(place, label, path, content if isinstance(content, str) else replace(content, folder=folder))


def _syntax_problems(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield all that is outside the accepted subset: line, no path, problem. A text without any is safe to compose."""
    if len(text) > MAX_CHARS:
        yield 1, "", f"expected at most {MAX_CHARS} characters, got {len(text)} or more"
        return
    for line, words in enumerate(text.split("\n"), 1):
        if bad := forbidden(words):
            yield line, "", "tab; use spaces" if bad == "\t" else f"control character U+{ord(bad):04X}; remove it"
            return
    depth = documents = 0
    event: Any
    try:
        for event in yaml.parse(text, LOADER):
            line = event.start_mark.line + 1
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            documents += isinstance(event, yaml.DocumentStartEvent)
            for test, what in UNSUPPORTED:
                if test(event):
                    yield line, "", f"unsupported {what}; write plain values"
            if depth > MAX_DEPTH or documents > 1:
                deep, second = f"nested deeper than {MAX_DEPTH}", "unsupported second document; keep one"
                yield line, "", deep if depth > MAX_DEPTH else second
                return
    # The pure-Python parser raises ValueError or OverflowError for "\Uffffffff".
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = printable(getattr(error, "problem", None) or error, MAX_SHOWN)
        yield mark.line + 1 if mark else 1, "", f"not YAML: {reason}"


def _section(node: yaml.Node, section: str, line: int) -> Iterator[tuple[int, str, Scalar | str]]:
    if not isinstance(node, yaml.MappingNode):
        content = _content(node)
        if not (isinstance(content, Scalar) and content.is_null):  # null: every option is commented out
            yield line, section, f"expected options as `name: value` lines, got {content}"
        return
    first: dict[str, int] = {}
    for key, value in node.value:
        line, name, content = key.start_mark.line + 1, key.value, _content(value)
        if not isinstance(key, yaml.ScalarNode):
            yield line, section, f"expected an option name, got {_content(key)}"
            continue
        path = f"{section}.{name}" if section else name
        if path in first:
            yield line, path, f"given twice, first in line {first[path]}; keep one"
        elif "." in name or not (path in OPTIONS or path in SECTIONS):
            yield line, path, _unknown(path, isinstance(value, yaml.MappingNode))
        elif path in SECTIONS:
            yield from _section(value, path, line)
        elif isinstance(content, Scalar):
            yield line, path, content
        else:
            yield line, path, f"expected {OPTIONS[path].expected()}, got {content}"
        first.setdefault(path, line)


def _content(node: yaml.Node) -> Scalar | str:
    """Return the scalar of a node, or the kind of a node that is not a scalar."""
    if isinstance(node, yaml.ScalarNode):
        return Scalar(node.value, plain=not node.style)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a section"


def _of_override(text: str) -> Setting:
    path, equals, value = text.partition("=")
    path, value = path.strip(), value.lstrip()
    if path not in OPTIONS or OPTIONS[path].kind is not Path:  # the name of a file may end in a space
        value = value.rstrip()
    content: Scalar | str = Scalar(value)
    if not equals:
        content = "expected key=value, such as model.decoder=rnn"
    elif path not in OPTIONS:
        content = _unknown(path, path in SECTIONS)
    elif not value:
        content = f"expected {OPTIONS[path].expected()} after the =, got nothing"
    label = f"-o {printable(text, MAX_SHOWN)}"
    return Setting(label, label, path, content)


def _unknown(path: str, is_section: bool) -> str:
    """Describe the problem of a path that is not an option, with a suggestion."""
    if path in SECTIONS:
        option = next(option for option in OPTIONS if option.startswith(f"{path}."))
        return f"expected an option, got a section; set one of its options, such as {option}"
    if path in OPTIONS:
        section, _, name = path.rpartition(".")
        return f"expected a name without a dot; write {name} below {section}:"
    valid, noun = (SECTIONS, "section") if is_section else (OPTIONS, "option")
    return f"unknown {noun}{closest(path, valid) or ' (captioner config show prints all options)'}"


def shipped() -> Mapping[str, Path]:
    """Return the file of each shipped config by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"), key=lambda path: path.stem)}


def description(path: Path) -> str:
    """Return the first comment of a config."""
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def read_shipped(name: str) -> str:
    """Return the text of a shipped config.

    Raises: ConfigError for an unknown name.
    """
    configs = shipped()
    if name not in configs:
        hint = closest(name, configs) or " (captioner config list prints the names)"
        raise ConfigError([f"config '{name}': not shipped with captioner{hint}"])
    return configs[name].read_text(encoding="utf-8")
