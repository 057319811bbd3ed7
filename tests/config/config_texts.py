"""The problems of a config text, and random configs."""

from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from captioner.config.checks import CONSTRAINTS
from captioner.config.option_table import OPTIONS, Option, replaced
from captioner.config.options import Config
from captioner.config.overrides import override, read_overrides
from captioner.config.yaml_io import parse
from captioner.errors import ConfigError


def problems(text: str, *overrides: str) -> list[str]:
    """Return the problems of a config, which are the lines of its error."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "my.yaml", read_overrides(overrides))
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return list(caught.value.problems)


def names() -> st.SearchStrategy[str]:
    writable = st.characters(exclude_categories=("Cc", "Cf", "Cn", "Cs", "Zl", "Zp"))
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
    strategy = st.sampled_from(option.choices) if option.choices else of_kind[option.kind]()
    return st.none() | strategy if option.nullable else strategy


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Configs with random values of some options, without violated constraints."""
    paths = draw(st.lists(st.sampled_from([*OPTIONS]), unique=True))
    config: Config = replaced(Config(), {path: draw(values(OPTIONS[path])) for path in paths})
    fixes = {path: option.default for path, option in OPTIONS.items()} | {"data.root": Path("/x"), "model.heads": 1}
    for constraint in CONSTRAINTS:
        if not constraint.holds(config):
            current = {path: attrgetter(path)(config) for path in OPTIONS}
            config = replaced(Config(), current | {constraint.option: fixes[constraint.option]})
    return override(config)
