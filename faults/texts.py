"""Mutated config files and YAML pitfalls: refused, or read as written.

The oracle does not use `captioner.config`: it parses all scalars as strings with PyYAML, and checks that each accepted
value equals its text in the documented form.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from captioner.config.options import Config
from captioner.config.schema import build, options
from captioner.config.yaml_io import dump, load, parse
from captioner.errors import ConfigError
from faults import watch
from faults.session import ROOT, Row, Session, row
from faults.watch import Outcome, classify
from faults.yaml_pitfalls import PIECES, REFUSED, TAKEN

BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
NULLS = ("", "~", "null", "Null", "NULL")
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?")


def _is_int(text: str, value: Any) -> bool:
    return bool(INTEGER.fullmatch(text)) and type(value) is int and int(text) == value


def _is_float(text: str, value: Any) -> bool:
    digits = NUMBER.fullmatch(text) and any(c.isdigit() for c in text)
    return bool(digits) and type(value) is float and math.isfinite(value) and float(text) == value


MATCHES: Mapping[type, Callable[[str, Any], bool]] = {
    bool: lambda text, value: BOOLS.get(text) is value,
    int: _is_int,
    float: _is_float,
    str: lambda text, value: text == value,
    Path: lambda text, value: isinstance(value, Path),
}
"""Per option type: whether a value equals its text."""
OPTIONS = {option.path: option for option in options()}


def misread(text: str, config: Config, folder: Path) -> str:
    """Return the first option whose value differs from the text, or ""."""
    written = dict(_leaves(yaml.compose(text, yaml.SafeLoader), ""))
    for path, option in OPTIONS.items():
        value = attrgetter(path)(config)
        if path not in written:
            if value != option.default:
                return f"{path}: {value!r} from nowhere"
            continue
        words, plain = written.pop(path)
        null = plain and words in NULLS
        if (value is None) != null or not (null or MATCHES[option.kind](words, value)):
            return f"{path}: {value!r} from {words!r}"
        if isinstance(value, Path) and str(value) != os.path.normpath(folder / os.path.expanduser(words)):
            return f"{path}: {value!r} from {words!r}"
        if option.kind in (bool, int, float) and not plain:
            return f"{path}: {value!r} from quotes"
    return f"dropped: {', '.join(written)}" if written else ""


def _leaves(node: Any, path: str) -> Iterator[tuple[str, tuple[str, bool]]]:
    """Yield every scalar with its path; duplicate keys, lists and non-scalar keys yield unknown paths, which fail."""
    if node is None:
        return
    if isinstance(node, yaml.ScalarNode):
        if path in OPTIONS or (node.value not in NULLS):  # a section with all options commented out is null
            yield path, (node.value, node.style is None)
        return
    if not isinstance(node, yaml.MappingNode):
        yield f"a list at {path}", ("", True)
        return
    seen = set()
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else repr(key)
        if name in seen:
            yield f"{name} twice", ("", True)
        seen.add(name)
        yield from _leaves(value, f"{path}.{name}" if path else name)


def _same(text: str, config: Config, folder: Path) -> str:
    if parse(dump(config), "again") != config:
        return "dumped, it is another config"
    return misread(text.removeprefix("\ufeff"), config, folder)


def attempt(data: bytes, path: Path) -> Outcome:
    """Load a config file and classify the outcome."""
    path.write_bytes(data)
    problems: list[str] = []

    def same(config: Config) -> bool:
        problems.append(_same(data.decode(), config, path.parent))
        return not problems[0]

    outcome = classify(lambda: load(path), same, ConfigError)
    if outcome.kind == "harmless":
        return Outcome("read as written")
    return (
        outcome._replace(note=f"{outcome.note} {problems} {data[:200]!r}") if outcome.kind in watch.ESCAPED else outcome
    )


_TREE = build({"data.root": Path("/a b"), "train.patience": 3, "train.schedule": "exponential", "train.lr_decay": 0.5})
SEEDS = (
    dump(_TREE).encode(),
    dump(Config()).encode(),
    b"seed: 1\nmodel: {cell: rnn, hidden_dim: 8}\ntrain:\n  epochs: 3\n",
)


@dataclass(frozen=True)
class Mutated:
    """Trial k applies one to six mutations to a shipped or dumped config."""

    folder: Path
    seed: int

    def __call__(self, number: int) -> Outcome:
        rng = np.random.default_rng((self.seed, number, 5))
        shipped = [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.yaml"))]
        seeds = [*SEEDS, *shipped]
        data = bytearray(seeds[int(rng.integers(len(seeds)))])
        for _ in range(int(rng.integers(1, 7))):
            at = int(rng.integers(len(data) + 1))
            match int(rng.integers(6)):
                case 0:
                    data[at : at + int(rng.integers(1, 12))] = b""
                case 1:
                    data[at : at + 1] = bytes((int(rng.integers(256)),))
                case 2:  # duplicate a line
                    lines = data.split(b"\n")
                    lines.insert(int(rng.integers(len(lines) + 1)), lines[int(rng.integers(len(lines)))])
                    data = bytearray(b"\n".join(lines))
                case 3:  # replace the value on a line
                    lines = data.split(b"\n")
                    k = int(rng.integers(len(lines)))
                    lines[k] = lines[k].partition(b":")[0] + b": " + PIECES[int(rng.integers(len(PIECES)))]
                    data = bytearray(b"\n".join(lines))
                case 4:
                    data = data[: int(rng.integers(len(data) + 1))]
                case _:
                    data[at:at] = PIECES[int(rng.integers(len(PIECES)))]
        return attempt(bytes(data), self.folder / f"mutated-{os.getpid()}.yaml")


@dataclass(frozen=True)
class Pitfalls:
    """Trial k loads the k-th handwritten text."""

    folder: Path

    def __call__(self, number: int) -> Outcome:
        expected = "refused" if number < len(REFUSED) else "read as written"
        name, text = (*REFUSED.items(), *TAKEN.items())[number]
        data = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
        outcome = attempt(data, self.folder / f"trap-{os.getpid()}.yaml")
        if outcome.kind in watch.ESCAPED or outcome.kind == expected:
            return outcome._replace(note=f"{name}: {outcome.note}")
        return Outcome("wrong", f"{name}: {outcome.kind}, not {expected}")


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("texts")
    must = "refused with a line number, or read as written"
    pitfalls = watch.run(Pitfalls(folder), len(REFUSED) + len(TAKEN))
    yield row("config files with YAML pitfalls", must, pitfalls)
    yield row("mutated config files", must, watch.run(Mutated(folder, session.seed), session.count(20_000)))
