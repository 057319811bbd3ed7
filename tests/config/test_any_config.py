"""A written config is read back as an equal one, and any text gives a config or an error, with both YAML parsers."""

from operator import attrgetter
from pathlib import Path

import pytest
import yaml
from config_texts import configs, problems
from hypothesis import example, given
from hypothesis import strategies as st

from captioner.config import yaml_io as configio
from captioner.config.option_table import Option, options
from captioner.config.options import Config
from captioner.config.overrides import override, read_overrides
from captioner.config.yaml_io import MAX_CHARS, MAX_PROBLEMS, dump, parse
from captioner.errors import JOINERS, ConfigError

LOADERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]


def named(split: str) -> Config:
    return override(Config(), {"validate.split": split})


@given(configs(), st.booleans())
def test_a_dumped_config_is_parsed_to_an_equal_one(config: Config, comments: bool) -> None:
    assert parse(dump(config, comments=comments), "my.yaml") == config


@given(configs() | st.sampled_from(["null", "True", "no", "on", "1e3", "017", "~", "", " "]).map(named))
def test_a_yaml_1_1_reader_reads_the_same_values(config: Config) -> None:
    tree = yaml.safe_load(dump(config))
    for option in options():
        value = tree
        for name in option.path.split("."):
            value = value[name]
        expected = attrgetter(option.path)(config)
        assert value == (str(expected) if isinstance(expected, Path) else expected)
        assert not isinstance(expected, int | float) or type(value) is type(expected)


def test_a_comment_documents_every_option_in_one_line() -> None:
    text = dump(Config(), comments=True)
    assert all(len(line) <= 180 for line in text.splitlines())
    for option in options():
        assert f"# {option.doc}; {option.expected()}\n" in text


VALID = dump(override(Config(), {"data.source": "prepared", "data.root": Path("/a b"), "train.patience": 3}))
SYNTAX = [
    "\n", "  ", ": ", "- ", "[", "{", "}", "]", "&a ", "*a", "!!int ", "<<: ", "'", '"', "|", ">", "#", "---\n", "%TAG",
]  # fmt: skip
VALUES = [
    "1e400", ".nan", "0x1", "017", "1:30", "yes", "~", "9" * 5000, "\\Uffffffff", "\0", "\t", "\ufeff", "\u2028",
    "model",
]  # fmt: skip
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
    try:
        config = parse(text, "my\n.yaml", read_overrides(overrides))
    except ConfigError as error:
        lines = [line.translate(dict.fromkeys(map(ord, JOINERS))) for line in error.problems]
        assert lines
        assert all(line.isprintable() and len(line) < 400 for line in lines)
        return None
    assert parse(dump(config), "") == config
    return config


@example("\n\ufeff", [])
@example("\ufeffseed: 1\n\ufefftrain: {}", [])
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
        "model: {decoder: " + "l" * 65_000 + "}",
        "a: {}\n" * 10_000,
        "'" * 65_001,
    ],
    ids=lambda text: text[:12],
)
def test_a_hostile_text_is_reported_in_a_few_short_lines(text: str) -> None:
    lines = problems(text)
    assert len(lines) <= MAX_PROBLEMS + 1
    assert all(len(line) < 300 for line in lines)
