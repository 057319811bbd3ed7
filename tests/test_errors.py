"""Every exception is a CaptionerError with an exit code; every text becomes one line without control characters."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner import errors
from captioner.errors import JOINERS, LIMIT, LONGEST, CaptionerError, ConfigError, printable, quoted

ERRORS = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)}
ANY = st.text(st.characters(codec=None, exclude_categories=()))
CODES = {"UsageError": 2, "ConfigError": 2, "MissingLibraryError": 2}


@pytest.mark.parametrize("error_type", sorted(ERRORS, key=lambda value: value.__name__))
def test_exit_codes(error_type: type[Exception]) -> None:
    assert issubclass(error_type, CaptionerError)
    assert error_type.exit_code == CODES.get(error_type.__name__, 1)


def test_a_config_error_has_one_line_per_problem() -> None:
    error = ConfigError(["a: wrong", "b: wrong too"])
    assert str(error) == "a: wrong\nb: wrong too"
    assert error.problems == ("a: wrong", "b: wrong too")


def is_safe(text: str) -> bool:
    return text.translate(dict.fromkeys(map(ord, JOINERS))).isprintable()


def test_examples() -> None:
    texts = {
        "a é 猫.jpg": "a é 猫.jpg",
        "a\tb": r"a\tb",
        "a\nb'\"": r"a\nb'" + '"',
        "\udcff": r"\udcff",
        "\x1b[2J\x9b\x7f": r"\x1b[2J\x9b\x7f",
        "\u202etxt\u2028": r"\u202etxt\u2028",
        "می\u200cرود": "می\u200cرود",
        r"c:\new": r"c:\new",
        "": "",
    }
    assert {text: printable(text) for text in texts} == texts
    assert printable(3) == "3"
    assert printable(None) == "None"


@given(ANY, st.integers(10, 100))
def test_any_text_becomes_one_short_safe_line_idempotently(text: str, limit: int) -> None:
    once = printable(text, limit)
    assert is_safe(once)
    assert len(once) <= limit
    assert printable(once, limit) == once
    assert once == text or not is_safe(text) or len(text) > limit


def test_a_long_text_keeps_its_start_and_end() -> None:
    assert printable("abcdefghijklmnop", 10) == "abcde...op"
    long = printable("begin" + "\x1b" * 1_000_000 + "end")
    assert len(long) == LIMIT
    assert re.fullmatch(r"begin(\\x1b)+.*\.\.\..*(\\x1b)+end", long)


def test_a_value_is_quoted() -> None:
    assert quoted("a\nb") == r"'a\nb'"
    assert quoted([1, "x"]) == "[1, 'x']"
    assert quoted("x" * 100) == "'" + "x" * 37 + "..." + "x" * 18 + "'"


@given(ANY, ANY)
def test_error_messages_are_escaped(first: str, second: str) -> None:
    assert is_safe(str(CaptionerError(f"{first}: {second}")))
    assert all(map(is_safe, str(ConfigError([first])).split("\n")))
    assert len(str(CaptionerError("x" * 10_000))) == LONGEST


def test_the_message_in_a_traceback_is_escaped() -> None:
    code = "from captioner.errors import DataError\nraise DataError('a\\x1b[2J\\nb')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1] == r"captioner.errors.DataError: a\x1b[2J\nb"
