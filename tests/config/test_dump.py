"""A config that was written is read back as an equal one, also by other YAML readers."""

from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from captioner.config.checks import CONSTRAINTS
from captioner.config.options import Config
from captioner.config.schema import Option, build, options
from captioner.config.yaml_io import dump, parse

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def names() -> st.SearchStrategy[str]:
    writable = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cn"), exclude_characters=f"\ufeff{BIDI}")
    return st.text(writable, min_size=1)


def values(option: Option) -> st.SearchStrategy[Any]:
    low, high = (max((b.limit for b in option.bounds if b.sign[0] == sign), default=None) for sign in "><")
    signs = {bound.sign for bound in option.bounds}
    of_kind: dict[type, Any] = {
        bool: st.booleans,
        int: lambda: st.integers(int(low or 0), 2**63 - 1 if high is None else int(high)),
        float: lambda: st.floats(
            low, high, exclude_min=">" in signs, exclude_max="<" in signs, allow_nan=False, allow_infinity=False
        ),
        str: names,
        Path: lambda: names().map(lambda name: Path("/", name)),
    }
    one = st.sampled_from(option.choices) if option.choices else of_kind[option.kind]()
    return st.none() | one if option.nullable else one


@st.composite
def configs(draw: st.DrawFn) -> Config:
    some = draw(st.lists(st.sampled_from(options()), unique=True))
    config: Config = build({option.path: draw(values(option)) for option in some})
    fixes = {option.path: option.default for option in options()} | {"data.root": Path("/x")}
    for constraint in CONSTRAINTS:
        if not constraint.holds(config):
            current = {option.path: attrgetter(option.path)(config) for option in options()}
            config = build(current | {constraint.option: fixes[constraint.option]})
    return config


def named(split: str) -> Config:
    config: Config = build({"validate.split": split})
    return config


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
    assert all(len(line) <= 120 for line in text.splitlines())
    for option in options():
        assert f"# {option.doc}; {option.expected()}\n" in text
