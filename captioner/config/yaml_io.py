"""Read a Config from YAML, write one, and find the configs that are shipped with captioner.

All problems are reported at once, each with its line and a suggestion. Relative paths start at the folder of the file,
or at the current folder in a shipped config.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

from captioner.config.option_table import MAX_SHOWN, NULL, OPTIONS, SECTIONS, Option, closest, read, replaced, write
from captioner.config.options import Config
from captioner.config.overrides import FORMER, NONE, Values, differences, override, remains, unknown
from captioner.errors import ConfigError, printable
from captioner.files.user_files import read_bytes

PACKAGE, REPOSITORY = Path(__file__).parents[1:3]
FOLDER = (PACKAGE if (PACKAGE / "configs").is_dir() else REPOSITORY) / "configs"
"""The shipped configs: a folder of the repository, of which a wheel contains a copy in the package."""
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_CHARS, MAX_PROBLEMS = 65_536, 50


def load(path: Path | None, overrides: Values = NONE) -> Config:
    """Read the Config of a file, or the defaults if `path` is None, with overrides.

    `path` may also be the name of a shipped config; a file of this name is used before it.

    Raises: ConfigError with one line per problem.
    """
    if path is None:
        return override(Config(), overrides)
    configs = shipped()
    file = path if os.path.isfile(path) else configs.get(str(path), path)
    is_shipped = os.path.isfile(file) and any(os.path.samefile(file, other) for other in configs.values())
    return parse(_read_file(file), str(path), overrides, None if is_shipped else file.parent)


def parse(text: str, name: str, overrides: Values = NONE, folder: Path | None = None) -> Config:
    """Read the Config of a YAML text, called `name` in messages, with overrides.

    Relative paths in the text start at `folder`, by default at the current folder.

    Raises: ConfigError with one line per problem.
    """
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    problems: list[str] = []
    for line, path, node in _nodes(text):
        place = f"{printable(name)}:{line}"
        try:
            if isinstance(node, str):
                raise ValueError(node)
            if path in places:
                raise ValueError(f"given twice, first in line {places[path].rpartition(':')[2]}; keep one")
            places[path] = place
            if path in FORMER:
                if not (isinstance(node, yaml.ScalarNode) and remains(path, node.value)):
                    raise ValueError(unknown(path))
                continue
            if not isinstance(node, yaml.ScalarNode):
                raise ValueError(f"expected {OPTIONS[path].expected()}, got {_describe(node)}")
            values[path] = read(OPTIONS[path], node.value, folder, is_quoted=bool(node.style))
        except ValueError as problem:
            problems.append(": ".join(filter(None, (place, printable(path, MAX_SHOWN), str(problem)))))
            if len(problems) == MAX_PROBLEMS:
                problems.append(f"stopped after {MAX_PROBLEMS} problems; there may be more")
                break
    if problems:
        raise ConfigError(problems)
    config = replaced(Config(), {**values, "given": frozenset(values)})
    return override(config, overrides, {path: places[path] for path in values.keys() - overrides})


def dump(config: Config, *, comments: bool = False) -> str:
    """Write a Config as YAML that `parse` reads back to an equal Config, optionally with a comment on every option."""
    lines = _lines(config, OPTIONS.values())
    return "".join(f"{line:<32} # {comment}\n" if comments else f"{line}\n" for line, comment in lines)


def config_differences(config: Config) -> str:
    """Return the options that differ from their defaults, as a config file. File paths are omitted."""
    changed = [OPTIONS[path] for path in differences(config, override(Config())) if OPTIONS[path].kind is not Path]
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
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise ConfigError([f"{path}:{line}: expected UTF-8 text, got the byte 0x{data[error.start]:02x}"]) from None


def _nodes(text: str) -> Iterator[tuple[int, str, yaml.Node | str]]:
    """Yield line, path and YAML node of each option, or the problem instead of the node.

    YAML is composed to nodes, not to values: a node has a line, and the type of its option, not YAML, decides how it is
    read. Only sections that exist are entered, so that aliases cannot expand.
    """
    if len(text) > MAX_CHARS:
        yield 1, "", f"expected at most {MAX_CHARS} characters, got {len(text)} or more"
        return
    if (place := text.find("\ufeff", 1)) > 0:  # libyaml skips it at the start of a line, PyYAML's own parser does not
        yield 1 + text.count("\n", 0, place), "", "unexpected byte order mark (U+FEFF); remove it"
        return
    try:
        root = yaml.compose(text, LOADER)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = printable(getattr(error, "problem", None) or getattr(error, "reason", None) or error, MAX_SHOWN)
        yield mark.line + 1 if mark else 1, "", f"not YAML: {reason}"
        return
    if root is not None:
        yield from _section(root, "", 1)


def _section(node: yaml.Node, section: str, line: int) -> Iterator[tuple[int, str, yaml.Node | str]]:
    if not isinstance(node, yaml.MappingNode):
        if not (isinstance(node, yaml.ScalarNode) and not node.style and node.value in NULL):
            yield line, section, f"expected options as `name: value` lines, got {_describe(node)}"
        return  # null: every option is commented out
    first: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        name = key.value if isinstance(key, yaml.ScalarNode) else _describe(key)
        path = f"{section}.{name}" if section else name
        if path in SECTIONS and "." not in name:
            if path in first:
                yield line, path, f"given twice, first in line {first[path]}; keep one"
            first.setdefault(path, line)
            yield from _section(value, path, line)
        elif (path in OPTIONS or path in FORMER) and "." not in name:
            yield line, path, value
        elif path in OPTIONS:
            parent, _, option = path.rpartition(".")
            yield line, path, f"expected a name without a dot; write {option} below {parent}:"
        else:
            is_section = isinstance(value, yaml.MappingNode)
            hint = closest(path, SECTIONS) if is_section else ""
            yield line, path, f"unknown section{hint}" if hint else unknown(path)


def _describe(node: yaml.Node) -> str:
    """Describe a node that is not the value of an option."""
    if isinstance(node, yaml.ScalarNode):
        return printable(repr(node.value) if node.style else node.value or "null", MAX_SHOWN)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a section"


def shipped() -> Mapping[str, Path]:
    """Return the file of each shipped config by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"), key=lambda path: path.stem)}


def description(path: Path) -> str:
    """Return the first comment of a config."""
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def read_shipped(name: str) -> str:
    """Return the text of a shipped config. Raises: ConfigError for an unknown name."""
    return _read_file(shipped().get(name, Path(name)))
