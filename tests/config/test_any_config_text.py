"""Any text gives a config or an error, the same with both YAML parsers, in a few short lines."""

from pathlib import Path

import pytest
from config_texts import LOADERS, problems
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.config import yaml_io as configio
from captioner.config.options import Config
from captioner.config.schema import Option, build, options
from captioner.config.yaml_io import MAX_CHARS, MAX_PROBLEMS, dump, parse
from captioner.errors import ConfigError
from captioner.printable import JOINERS

VALID = dump(build({"data.root": Path("/a b"), "train.patience": 3}))
SYNTAX = [
    "\n",
    "  ",
    ": ",
    "- ",
    "[",
    "{",
    "}",
    "]",
    "&a ",
    "*a",
    "!!int ",
    "<<: ",
    "'",
    '"',
    "|",
    ">",
    "#",
    "---\n",
    "%TAG",
]
VALUES = [
    "1e400",
    ".nan",
    "0x1",
    "017",
    "1:30",
    "yes",
    "~",
    "9" * 5000,
    "\\Uffffffff",
    "\0",
    "\t",
    "\ufeff",
    "\u2028",
    "model",
]
PIECES = st.sampled_from(SYNTAX + VALUES) | st.text(max_size=4)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = VALID
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(start + 30, len(text))))
        text = text[:start] + draw(PIECES) + text[end:]
    return text


def outcome(text: str, overrides: list[str]) -> Config | None:
    found: tuple[str, ...] = ()
    try:
        config = parse(text, "my\n.yaml", overrides)
    except ConfigError as error:
        config, found = None, error.problems
    assert (config is None) == bool(found)
    without_joiners = dict.fromkeys(map(ord, JOINERS))
    assert all(problem.translate(without_joiners).isprintable() and len(problem) < 400 for problem in found)
    assert config is None or parse(dump(config), "") == config
    return config


@settings(deadline=None)
@given(mutated() | st.text() | st.lists(PIECES).map("".join), st.lists(st.text(), max_size=2))
def test_any_text_gives_the_same_config_or_error_with_both_parsers(text: str, overrides: list[str]) -> None:
    results = []
    for loader in LOADERS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(configio, "LOADER", loader)
            results.append(outcome(text, overrides))
    assert all(result == results[0] for result in results)


@given(st.sampled_from(options()), st.sampled_from(["=", " = ", "", "=="]), PIECES | st.text())
def test_any_override_gives_a_config_or_a_config_error(option: Option, equals: str, value: str) -> None:
    outcome("", [option.path + equals + value])


@pytest.mark.parametrize(
    "text",
    [
        "[" * MAX_CHARS,
        "{a: " * 16_000,
        "- " * 32_000,
        "? " * 32_000,
        "".join(" " * i + "a:\n" for i in range(300)),
        "seed: " + "1:" * 32_000 + "1",
        "seed: " + "9" * 65_000,
        "train: {learning_rate: " + "9" * 65_000 + "}",
        "train: {learning_rate: 1e" + "9" * 65_000 + "}",
        "train: {learning_rate: 1e-" + "9" * 65_000 + "}",
        "? " + "a" * 65_000 + "\n: 1",
        "model: {cell: " + "l" * 65_000 + "}",
        "a: {}\n" * 10_000,
        "!" * 65_000,
        "'" * 65_001,
    ],
    ids=lambda text: text[:12],
)
def test_a_hostile_text_is_reported_in_a_few_short_lines(text: str) -> None:
    found = problems(text)
    assert len(found) <= MAX_PROBLEMS + 1
    assert all(len(problem) < 300 for problem in found)
