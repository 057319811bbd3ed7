"""YAML text and `-o` overrides -> Config: every problem at once, with its place and a suggestion.

The text is the plain part of YAML 1.2: nested `name: value` lines without anchors, tags, directives or tabs, bounded in
size and depth, so that no text can hang or surprise. Paths in a file are relative to that file, in an override to the
current folder. Of several overrides of one option the last wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, chain
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from captioner.config.constraints import CONSTRAINTS
from captioner.config.options import Config
from captioner.config.schema import Option, build, options, sections
from captioner.config.values import FORBIDDEN, MAX_SHOWN, Scalar, closest, read, write
from captioner.errors import ConfigError
from captioner.printable import printable
from captioner.storage.files import read_bytes

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
OPTIONS: Mapping[str, Option] = {option.path: option for option in options()}
SECTIONS: Mapping[str, str] = sections()
MAX_CHARS, MAX_DEPTH, MAX_PROBLEMS = 65_536, 8, 50
# What YAML offers and a config has no use for: a test of a parse event, and the name of what it finds.
UNWANTED: Sequence[tuple[Callable[[Any], Any], str]] = (
    (lambda event: isinstance(event, yaml.AliasEvent), "an alias (*name)"),
    (lambda event: not isinstance(event, yaml.AliasEvent) and getattr(event, "anchor", None), "an anchor (&name)"),
    (lambda event: getattr(event, "tag", None), "a tag (!name)"),
    (lambda event: getattr(event, "version", None) or getattr(event, "tags", None), "a directive (%NAME)"),
)


class Given(NamedTuple):
    """An option as the user gave it, at a place and under a label in messages: its scalar, or what is wrong with it."""

    place: str
    label: str
    path: str
    found: Scalar | str


def load(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """The Config of a file, or of the defaults when there is none, with `key=value` overrides.

    Raises: ConfigError with a line for each problem.
    """
    if path is None:
        return parse("", "", overrides)
    return parse(_read_file(path), str(path), overrides, path.parent)


def parse(text: str, name: str, overrides: Sequence[str] = (), folder: Path | None = None) -> Config:
    """The Config of a YAML text, called `name` in messages, with `key=value` overrides.

    How captions are written may be told anew at any time: what an override leaves without effect there gives way.
    Relative paths in the text begin at `folder`, or at the current folder when there is none.

    Raises: ConfigError with a line for each problem.
    """
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    problems: list[str] = []
    bad: set[str] = set()
    for given in chain(_of_text(text, printable(name), folder), map(_of_override, overrides)):
        value, problem = _value(given)
        if problem is None:
            values[given.path], places[given.path] = value, given.place
            continue
        bad.add(given.path)
        problems.append(f"{given.label}: {problem}")
        if len(problems) == MAX_PROBLEMS:
            raise ConfigError((*problems, f"stopped after {MAX_PROBLEMS} problems; there may be more"))
    config: Config = build(values)
    overridden = {given.path for given in map(_of_override, overrides)}
    for rule in CONSTRAINTS:
        if not bad & {rule.option, rule.other} and not rule.holds(config):
            if rule.gives_way and rule.other in overridden and rule.option not in overridden:
                del values[rule.option]
                overridden.add(rule.option)
                config = build(values)
                continue
            place = places.get(rule.option) or places.get(rule.other)
            problems.append(": ".join(filter(None, (place, rule.option, rule.problem))))
    if problems:
        raise ConfigError(problems)
    return config


def dump(config: Config, *, comments: bool = False) -> str:
    """The YAML text of a Config, which `parse` turns back into its equal; on request with a comment on every option."""
    lines: list[tuple[str, str]] = []
    opened: set[str] = set()
    for path, option in OPTIONS.items():
        *parents, name = path.split(".")
        for level, section in enumerate(accumulate(parents, "{}.{}".format)):
            if section not in opened:
                opened.add(section)
                lines.append((f"{'  ' * level}{parents[level]}:", SECTIONS[section]))
        written = write(option, attrgetter(path)(config))
        lines.append((f"{'  ' * len(parents)}{name}: {written}", f"{option.doc}; {option.expected()}"))
    return "".join(f"{line:<32} # {comment}\n" if comments else f"{line}\n" for line, comment in lines)


def _read_file(path: Path) -> str:
    try:
        data = read_bytes(path, 4 * MAX_CHARS, lambda problem: ConfigError([problem]))
    except ConfigError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise ConfigError([f"{path}: no such file (captioner config init FILE writes one)"]) from None
        raise
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise ConfigError([f"{path}:{line}: expected UTF-8 text, got the byte 0x{data[error.start]:02x}"]) from None


def _value(given: Given) -> tuple[Any, str | None]:
    return (None, given.found) if isinstance(given.found, str) else read(OPTIONS[given.path], given.found)


def _of_text(text: str, name: str, folder: Path | None) -> Iterator[Given]:
    for line, path, found in _lines(text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")):
        place = f"{name}:{line}"
        label = f"{place}: {printable(path, MAX_SHOWN)}" if path else place
        yield Given(place, label, path, found if isinstance(found, str) else replace(found, folder=folder))


def _lines(text: str) -> Iterator[tuple[int, str, Scalar | str]]:
    """The line, path, and scalar or problem of all that a text gives."""
    sound = True
    for line, problem in _misuse(text):
        sound = False
        yield line, "", problem
    if sound and (root := yaml.compose(text, LOADER)) is not None:
        yield from _section(root, "", 1)


def _misuse(text: str) -> Iterator[tuple[int, str]]:
    """Lines and problems of a text that is not plain YAML; where there are none, composing it is safe."""
    if len(text) > MAX_CHARS:
        yield 1, f"expected at most {MAX_CHARS} characters, got {len(text)} or more"
        return
    for line, words in enumerate(text.split("\n"), 1):
        if bad := FORBIDDEN.search(words):
            control = f"a control character, U+{ord(bad[0]):04X}; remove it"
            yield line, "a tab; use spaces" if bad[0] == "\t" else control
            return
    depth = documents = 0
    event: Any
    try:
        for event in yaml.parse(text, LOADER):
            line = event.start_mark.line + 1
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            documents += isinstance(event, yaml.DocumentStartEvent)
            yield from ((line, f"{what}; write plain values") for is_unwanted, what in UNWANTED if is_unwanted(event))
            if depth > MAX_DEPTH or documents > 1:
                yield line, f"nested deeper than {MAX_DEPTH}" if depth > MAX_DEPTH else "a second document; keep one"
                return
    # ValueError and OverflowError: the pure-Python parser, of "\Uffffffff".
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        yield (
            mark.line + 1 if mark else 1,
            f"not YAML: {printable(getattr(error, 'problem', None) or error, MAX_SHOWN)}",
        )


def _section(node: yaml.Node, section: str, line: int) -> Iterator[tuple[int, str, Scalar | str]]:
    if not isinstance(node, yaml.MappingNode):
        content = _content(node)
        if not (isinstance(content, Scalar) and content.is_null):  # null: all its options are commented out
            yield line, section, f"expected options as `name: value` lines, got {content}"
        return
    first: dict[str, int] = {}
    for key, value in node.value:
        line, name, content = key.start_mark.line + 1, key.value, _content(value)
        if not isinstance(key, yaml.ScalarNode):
            yield line, section, f"expected the name of an option, got {_content(key)}"
            continue
        path = f"{section}.{name}" if section else name
        if name in first:
            yield line, path, f"given twice, first in line {first[name]}; keep one"
        elif "." in name or not (path in OPTIONS or path in SECTIONS):
            yield line, path, _unknown(path, isinstance(value, yaml.MappingNode))
        elif path in SECTIONS:
            yield from _section(value, path, line)
        elif isinstance(content, Scalar):
            yield line, path, content
        else:
            yield line, path, f"expected {OPTIONS[path].expected()}, got {content}"
        first.setdefault(name, line)


def _content(node: yaml.Node) -> Scalar | str:
    """The scalar of a node, or the kind of node that it is instead."""
    if isinstance(node, yaml.ScalarNode):
        return Scalar(node.value, plain=not node.style)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a section"


def _of_override(text: str) -> Given:
    path, equals, value = (part.strip() for part in text.partition("="))
    found: Scalar | str = Scalar(value)
    if not equals:
        found = "expected key=value, such as model.cell=rnn"
    elif path not in OPTIONS:
        found = _unknown(path, path in SECTIONS)
    elif not value:
        found = f"expected {OPTIONS[path].expected()} after the =, got nothing"
    label = f"-o {printable(text, MAX_SHOWN)}"
    return Given(label, label, path, found)


def _unknown(path: str, is_section: bool) -> str:
    """The problem of a path that is no option here, with what was probably meant."""
    if path in SECTIONS:
        inside = next(option for option in OPTIONS if option.startswith(f"{path}."))
        return f"expected an option, got a section; set what is in it, such as {inside}"
    if path in OPTIONS:
        section, _, name = path.rpartition(".")
        return f"expected a name without a dot; write {name} below {section}:"
    known, noun = (SECTIONS, "section") if is_section else (OPTIONS, "option")
    return f"unknown {noun}{closest(path, known) or ' (captioner config show lists all)'}"
