"""Every exception is a CaptionerError with an exit code."""

import pytest

from captioner import errors
from captioner.errors import CaptionerError, ConfigError

ERRORS = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)}
CODES = {"UsageError": 2, "ConfigError": 2, "MissingLibraryError": 2}


@pytest.mark.parametrize("error_type", sorted(ERRORS, key=lambda value: value.__name__))
def test_exit_codes(error_type: type[Exception]) -> None:
    assert issubclass(error_type, CaptionerError)
    assert error_type.exit_code == CODES.get(error_type.__name__, 1)


def test_a_config_error_has_one_line_per_problem() -> None:
    error = ConfigError(["a: wrong", "b: wrong too"])
    assert str(error) == "a: wrong\nb: wrong too"
    assert error.problems == ("a: wrong", "b: wrong too")
