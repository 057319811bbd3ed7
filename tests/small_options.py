"""Overrides that make any config fit into half a second."""

from collections.abc import Sequence

from captioner.config.checks import has_effect
from captioner.config.option_table import replaced
from captioner.config.options import Config
from captioner.config.overrides import Values, read_overrides
from faults.session import SMALL


def fitting(*overrides: str, small: Sequence[str] = SMALL) -> Values:
    """Return the values of overrides, and of the small ones that have an effect with them."""
    given, smaller = read_overrides(overrides), read_overrides(small)
    config = replaced(Config(), smaller | given)
    return {path: value for path, value in smaller.items() if has_effect(config, path)} | given
