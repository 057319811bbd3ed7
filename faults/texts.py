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
    expected = "refused" if number < len(REFUSED) else "read as written"
    name, text = (*REFUSED.items(), *TAKEN.items())[number]
    data = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    outcome = attempt(data, folder / f"trap-{os.getpid()}.yaml")
    if outcome.kind in watch.ESCAPED or outcome.kind == expected:
        return outcome._replace(note=f"{name}: {outcome.note}")
    return Outcome("wrong", f"{name}: {outcome.kind}, not {expected}")


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("texts")
    must = "refused with a line number, or read as written"
    pitfalls = watch.run(partial(load_pitfall, folder), len(REFUSED) + len(TAKEN))
    yield row("config files with YAML pitfalls", must, pitfalls)
    yield row(
        "mutated config files", must, watch.run(partial(load_mutated, folder, session.seed), session.count(20_000))
    )


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


REFUSED: Mapping[str, str | bytes] = {
    "a bomb of aliases": _aliases(12),
    "an anchor": "seed: &x 1",
    "an alias": "seed: &x 1\nthreads: *x",
    "a merge key": "model: &m {cell: rnn}\ntrain:\n  <<: *m",
    "a merge key without an alias": "train:\n  <<: {epochs: 3}",
    "a key twice": "seed: 1\nseed: 2",
    "a section twice": "train: {epochs: 1}\ntrain: {epochs: 2}",
    "a key twice, quoted once": 'seed: 1\n"seed": 2',
    "tabs": "train:\n\tepochs: 3",
    "a tab before a value": "seed:\t1",
    **{f"seed: {text}": f"seed: {text}" for text in (
        "1.0", "1e3", "017", "0o17", "0x1F", "0b11", "1_000", "1:30", "1:1:1", "'1'", "yes", "true", "on", "~",
        "null", "", "-1",
        ".inf", ".nan", "1 2", "2026-11-25", "9223372036854775808", "9" * 4000, "१", "[1]", "{a: 1}", "- 1",
        "1,000", "+", "1e", "|\n  1",
    )},
    **{f"standardize: {text}": f"data: {{standardize: {text}}}" for text in (
        "yes", "no", "on", "off", "Yes", "NO", "On", "OFF", "y", "n", "1", "0", "'true'", "tRue", "t", "~", "",
    )},
    **{f"learning_rate: {text}": f"train: {{learning_rate: {text}}}" for text in (
        "1e400", "-1e-3", "0", ".inf", "-.inf", ".nan", ".NaN", "nan", "inf", "1:30.5", "1_0.5", "0x1p3",
        "'1e-3'", "1e-400", "1e",
        "e3", "0.1.2", "1,5", "12e03.5", "~", "true",
    )},
    "not a number of keys": "1: 2",
    "a key that is true": "on: 1",
    "a key that is a list": "? [seed]\n: 1",
    "a key that is a section": "? {seed: 1}\n: 1",
    "a key that is nothing": ": 1",
    "a list": "- seed: 1",
    "a text": "seed",
    "a number": "3",
    "two documents": "seed: 1\n---\nseed: 2",
    "a second document that is empty": "seed: 1\n---\n",
    "a directive": "%YAML 1.1\n---\nseed: 1",
    "a tag directive": "%TAG ! tag:x,2026:\n---\nseed: 1",
    "a tag": "seed: !!int 1",
    "a tag of Python": "!!python/object/apply:os.system ['true']",
    "a tag of Python inside": "data: {root: !!python/name:os.system }",
    "a binary": "data: {root: !!binary aGk=}",
    "deep lists": "[" * 30_000,
    "deep sections": "{a: " * 10_000,
    "deep keys": "? " * 30_000,
    "deep indents": "\n".join(" " * k + "a:" for k in range(200)),
    "sexagesimal for ever": "seed: 1" + ":1" * 30_000,
    "vast": "#" * 100_000,
    "many keys": "".join(f"k{k}: 1\n" for k in range(5_000)),
    "UTF-16": "seed: 1".encode("utf-16"),
    "UTF-16 without a mark": "seed: 1".encode("utf-16-le"),
    "UTF-32": "seed: 1".encode("utf-32"),
    "Latin-1": "# café".encode("latin-1"),
    "two marks": "\ufeff\ufeffseed: 1",
    "a mark inside": "seed: 1\n\ufeffthreads: 1",
    "a path that is no UTF-8": b"data: {root: \xff\xfe}",
    "a path with a NUL": 'data: {root: "a\\0b"}',
    "a path with a line end": 'data: {root: "a\\nb"}',
    "a path with an escape": 'data: {root: "\\e[2J"}',
    "a surrogate": 'data: {root: "\\ud800"}',
    "beyond Unicode": 'data: {root: "\\Uffffffff"}',
    "a zero-width name": "se\u200bed: 1",
    "a name of other letters": "sееd: 1",
    "a name in capitals": "Seed: 1",
    "a name with a dot": "train.epochs: 3",
    "a line separator": "seed: 1 # \u2028threads: 1",
    "a next line": "seed: 1 # \x85threads: 1",
    "right to left": "data: {root: \u202etxt}",
    "an isolate": "seed: 1 # \u2066 x",
    "an escape": "seed: 1 # \x1b[2J",
    "control": "seed: 1 \x07",
    "an option of nothing": "hidden: 3",
    "a section for an option": "seed: {scenes: 1}",
    "an option for a section": "train: 3",
    "half a list": "train: [epochs: 3",
    "half a quote": "data: {root: 'x}",
    "an indent gone wrong": "train:\n  epochs: 3\n batch_size: 2",
}  # fmt: skip
TAKEN: Mapping[str, str | bytes] = {
    "nothing": "",
    "blank": "\n\n   \n",
    "a comment": "# nothing",
    "a document of nothing": "---\n...\n",
    "a mark": "\ufeffseed: 1",
    "line ends of Windows": "seed: 1\r\nthreads: 1\r\n",
    "line ends of old": "seed: 1\rthreads: 1",
    "1e-3": "train: {learning_rate: 1e-3}",
    "1.0e-3": "train: {learning_rate: 1.0e-3}",
    "1E-3": "train: {learning_rate: 1E-3}",
    ".5": "train: {learning_rate: .5}",
    "5.": "train: {learning_rate: 5.}",
    "1e3": "train: {learning_rate: 1e3}",
    "an integer for a number": "train: {learning_rate: 1}",
    "True": "data: {standardize: True}",
    "FALSE": "data: {standardize: FALSE}",
    "a path `no`": "data: {root: no}",
    "a path `1.0`": "data: {root: 1.0}",
    "a path `017`": "data: {root: 017}",
    "a path `2026-11-25`": "data: {root: 2026-11-25}",
    "a path at home": "data: {root: ~/x}",
    "a path in quotes": "data: {root: 'null'}",
    "a path of other letters": "data: {root: données/猫}",
    "a name `on`": "validate: {split: on}",
    "a largest number": f"seed: {2**63 - 1}",
    "null": "train: {patience: null}",
    "~": "train: {patience: ~}",
    "an empty section": "train:\n",
    "a section of nothing": "train: {}",
    "quotes around a name": '"seed": 1',
}
