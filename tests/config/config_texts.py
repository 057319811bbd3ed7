"""The YAML parsers, and the problems of a config text."""

import pytest
import yaml

from captioner.config.yaml_io import parse
from captioner.errors import ConfigError

LOADERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]


def problems(text: str, *overrides: str) -> list[str]:
    """Return the problems of a config, which are the lines of its error."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "my.yaml", overrides)
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return list(caught.value.problems)
