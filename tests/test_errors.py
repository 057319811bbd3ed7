"""Messages: one line, printable, with an exit code; install commands of the extras."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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

ROOT = Path(__file__).parents[1]
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


def test_the_install_command_of_extras_names_each_of_their_libraries_once() -> None:
    declared = ConfigParser()
    declared.read(ROOT / "setup.cfg")
    for extras in ("images", "report", "web", "mpi", "images,web"):
        lines = "\n".join(declared["options.extras_require"][extra] for extra in extras.split(",")).split("\n")
        assert shlex.split(install_command(extras)) == ["pip", "install", *dict.fromkeys(filter(None, lines))]
    assert str(CaptionerError(f"{'x' * LIMIT}; try {install_command('images,web')}")).endswith(
        install_command("images,web")
    )


def test_the_install_command_of_a_captioner_that_is_not_installed_names_its_folder(tmp_path: Path) -> None:
    (tmp_path / "my folder").mkdir()
    (tmp_path / "my folder" / "captioner").symlink_to(ROOT / "captioner")
    code = "from captioner.errors import install_command; print(install_command('images,web'))"
    command = [sys.executable, "-S", "-c", code]  # without the installed packages
    done = subprocess.run(
        command,
        env={"PYTHONPATH": str(tmp_path / "my folder")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"pip install '{tmp_path}/my folder[images,web]'\n"


def test_an_error_of_a_missing_library() -> None:
    missing = errors.MissingLibraryError(ModuleNotFoundError("x", name="jinja2"))
    assert str(missing) == f"needs jinja2, which is not installed; try {install_command('report')}"
    broken = errors.MissingLibraryError(ImportError("bad\nfile", name="PIL"), "pages: ")
    assert str(broken) == "pages: needs PIL, which cannot be imported (bad\\nfile); install it again"


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
