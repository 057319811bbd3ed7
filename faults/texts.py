"""Mutated config files and YAML pitfalls: refused, or read as written.

The oracle does not use `captioner.config`: it parses all scalars as strings with PyYAML, and checks that each accepted
value equals its text in the documented form.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import yaml

from captioner.config.option_table import build, options
from captioner.config.options import Config
from captioner.config.yaml_io import dump, load, parse
from captioner.errors import ConfigError
from faults import watch
from faults.session import ROOT, Row, Session
from faults.watch import Outcome, classify

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
    if outcome.kind in watch.ESCAPED:
        return outcome._replace(note=f"{outcome.note} {problems} {data[:200]!r}")
    return Outcome("read as written") if outcome.kind == "harmless" else outcome


_TREE = build({"data.root": Path("/a b"), "train.patience": 3, "train.schedule": "exponential", "train.lr_decay": 0.5})
SEEDS = (
    dump(_TREE).encode(),
    dump(Config()).encode(),
    b"seed: 1\nmodel: {decoder: rnn, hidden_dim: 8}\ntrain:\n  epochs: 3\n",
)


def load_mutated(folder: Path, seed: int, number: int) -> Outcome:
    """Trial k applies one to six mutations to a shipped or dumped config."""
    rng = np.random.default_rng((seed, number, 5))
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
    return attempt(bytes(data), folder / f"mutated-{os.getpid()}.yaml")


def load_pitfall(folder: Path, number: int) -> Outcome:
    """Trial k loads the k-th handwritten text."""
    subject, text, expected = PITFALLS[number]
    data = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    outcome = attempt(data, folder / f"trap-{os.getpid()}.yaml")
    note = f"{subject}: {data[:80]!r}: {outcome.note}"
    if outcome.kind in watch.ESCAPED or outcome.kind == expected:
        return outcome._replace(note=note)
    return Outcome("wrong", f"{note}: {outcome.kind}, not {expected}")


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("texts")
    must, every = "refused with a line number, or read as written", len(PITFALLS)
    yield session.run("config files with YAML pitfalls", must, partial(load_pitfall, folder), every, least=every)
    yield session.run("mutated config files", must, partial(load_mutated, folder, session.seed), 20_000)


PIECES: tuple[bytes, ...] = (
    *(piece.encode() for piece in (
        "\n", " ", "  ", "\t", ": ", ":", "- ", "[", "]", "{", "}", "&a ", "*a", "!!int ",
        "!!python/name:os.system ", "<<: ",
        "'", '"', "|", ">", "|-\n  ", "#", " #", "---\n", "...\n", "%YAML 1.1\n", "%TAG ! x\n", "? ", "!", ",",
        "\\", "\r",
        "yes", "no", "on", "off", "Yes", "NO", "y", "n", "true", "True", "TRUE", "tRue", "false", "null", "~", "Null",
        "0", "-0", "+1", "017", "0o17", "0x1F", "0b1", "1_000", "1:30", "1:1:1", "1e3", "1e-3", "1.0e-3",
        "1.e3", ".5", "5.",
        "1E+3", "e3", "1e400", "1e-400", ".inf", "-.inf", ".nan", ".NaN", "nan", "inf", "9" * 30, "1.", "+.5",
        "--1", "١٢",
        "2026-11-25", "2026-11-25 10:00:00", "=", "adam", "sgd", "lstm", "rnn", "gru", "prepared", "a/b",
        "../x", "~/x", "é", "猫",
        "\u202e", "\u200b", "\u2066", "\ufeff", "\u2028", "\x85", "\x00", "\x1b[31m", "\U0001f600",
        "seed: 1\n", "train:\n", "  epochs: 3\n",
    )),
    b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xfe\xff", b"\xff\xfe",
)  # fmt: skip


def _aliases(depth: int) -> str:
    levels = (f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, depth))
    return "\n".join(("a0: &a0 [x]", *levels))


Texts: TypeAlias = tuple[str | bytes, ...]
REFUSED: Mapping[str, Texts] = {
    "anchors, aliases and merge keys": (
        _aliases(12), "seed: &x 1", "seed: &x 1\nthreads: *x", "model: &m {decoder: rnn}\ntrain:\n  <<: *m",
        "train:\n  <<: {epochs: 3}",
    ),
    "a key twice": ("seed: 1\nseed: 2", "train: {epochs: 1}\ntrain: {epochs: 2}", 'seed: 1\n"seed": 2'),
    "tabs": ("train:\n\tepochs: 3", "seed:\t1"),
    "an integer": tuple(f"seed: {text}" for text in (
        "1.0", "1e3", "017", "0o17", "0x1F", "0b11", "1_000", "1:30", "1:1:1", "'1'", "yes", "true", "on", "~",
        "null", "", "-1", ".inf", ".nan", "1 2", "2026-11-25", "9223372036854775808", "9" * 4000, "१", "[1]", "{a: 1}",
        "- 1", "1,000", "+", "1e", "|\n  1",
    )),
    "a boolean": tuple(f"data: {{standardize: {text}}}" for text in (
        "yes", "no", "on", "off", "Yes", "NO", "On", "OFF", "y", "n", "1", "0", "'true'", "tRue", "t", "~", "",
    )),
    "a number": tuple(f"train: {{learning_rate: {text}}}" for text in (
        "1e400", "-1e-3", "0", ".inf", "-.inf", ".nan", ".NaN", "nan", "inf", "1:30.5", "1_0.5", "0x1p3", "'1e-3'",
        "1e-400", "1e", "e3", "0.1.2", "1,5", "12e03.5", "~", "true",
    )),
    "a key that is no name": ("1: 2", "on: 1", "? [seed]\n: 1", "? {seed: 1}\n: 1", ": 1"),
    "no section": ("- seed: 1", "seed", "3"),
    "several documents": ("seed: 1\n---\nseed: 2", "seed: 1\n---\n"),
    "directives and tags": (
        "%YAML 1.1\n---\nseed: 1", "%TAG ! tag:x,2026:\n---\nseed: 1", "seed: !!int 1",
        "!!python/object/apply:os.system ['true']", "data: {root: !!python/name:os.system }",
        "data: {root: !!binary aGk=}",
    ),
    "depth and size": (
        "[" * 30_000, "{a: " * 10_000, "? " * 30_000, "\n".join(" " * k + "a:" for k in range(200)),
        "seed: 1" + ":1" * 30_000, "#" * 100_000, "".join(f"k{k}: 1\n" for k in range(5_000)),
    ),
    "another encoding": (
        "seed: 1".encode("utf-16"), "seed: 1".encode("utf-16-le"), "seed: 1".encode("utf-32"),
        "# café".encode("latin-1"), "\ufeff\ufeffseed: 1", "seed: 1\n\ufeffthreads: 1",
        b"data: {root: \xff\xfe}",
    ),
    "characters of a path": tuple(f'data: {{root: "{text}"}}' for text in (
        "a\\0b", "a\\nb", "\\e[2J", "\\ud800", "\\Uffffffff",
    )),
    "a name": ("se\u200bed: 1", "sееd: 1", "Seed: 1", "train.epochs: 3", "hidden: 3"),
    "separators, directions and control characters": (
        "seed: 1 # \u2028threads: 1", "seed: 1 # \x85threads: 1", "data: {root: \u202etxt}", "seed: 1 # \u2066 x",
        "seed: 1 # \x1b[2J", "seed: 1 \x07",
    ),
    "another structure": (
        "seed: {scenes: 1}", "train: 3", "train: [epochs: 3", "data: {root: 'x}", "train:\n  epochs: 3\n batch_size: 2",
    ),
}  # fmt: skip
TAKEN: Mapping[str, Texts] = {
    "nothing": ("", "\n\n   \n", "# nothing", "---\n...\n"),
    "a mark and line ends": ("\ufeffseed: 1", "seed: 1\r\nthreads: 1\r\n", "seed: 1\rthreads: 1"),
    "a number": tuple(f"train: {{learning_rate: {text}}}" for text in (
        "1e-3", "1.0e-3", "1E-3", ".5", "5.", "1e3", "1",
    )),
    "a boolean": ("data: {standardize: True}", "data: {standardize: FALSE}"),
    "a path": tuple(f"data: {{root: {text}}}" for text in (
        "no", "1.0", "017", "2026-11-25", "~/x", "'null'", "données/猫",
    )),
    "a name": ("validate: {split: on}", '"seed": 1'),
    "a largest integer": (f"seed: {2**63 - 1}",),
    "null": ("train: {patience: null}", "train: {patience: ~}", "train:\n", "train: {}"),
}  # fmt: skip
PITFALLS = [
    (subject, text, expected)
    for table, expected in ((REFUSED, "refused"), (TAKEN, "read as written"))
    for subject, texts in table.items()
    for text in texts
]
