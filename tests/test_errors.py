"""Every kind of error is a CaptionerError that knows its exit code."""

import pytest

from captioner import errors
from captioner.errors import CaptionerError, ConfigError

KINDS = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
CODES = {"UsageError": 2, "ConfigError": 2, "MissingLibraryError": 2}


@pytest.mark.parametrize("kind", sorted(KINDS, key=lambda kind: kind.__name__))
def test_a_kind_has_its_exit_code(kind: type[Exception]) -> None:
    assert issubclass(kind, CaptionerError)
    assert kind.exit_code == CODES.get(kind.__name__, 1)


def test_a_config_error_has_a_line_for_each_problem() -> None:
    error = ConfigError(["a: wrong", "b: wrong too"])
    assert str(error) == "a: wrong\nb: wrong too"
    assert error.problems == ("a: wrong", "b: wrong too")
