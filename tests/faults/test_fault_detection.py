"""The fault suite detects crashes, disabled safeguards and wrong files."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import pytest

from captioner.errors import ConfigError, DataError
from captioner.files.saved import SIZE
from faults import damaged, interrupted, materials
from faults.damaged import classify
from faults.interrupted import Ended
from faults.session import Outcome, Session


def crash_or_raise(number: int) -> Outcome:
    if number == 1:
        raise RuntimeError("a bug in the suite")
    if number == 2:
        os._exit(3)
    return Outcome("refused")


def test_crashes_and_bugs_are_counted(tmp_path: Path) -> None:
    row = Session(tmp_path).run("a", "b", crash_or_raise, 3)
    assert row["ended"].pop("hung") == 1
    assert row["ended"].keys() <= {"refused", "traceback"}
    assert row["notes"]


def raising(error: BaseException) -> Callable[[], object]:
    def act() -> object:
        raise error

    return act


def with_invalid_message(error: Exception) -> Exception:
    """Give the error a two-line message, which captioner never produces."""
    error.args = ("a: two\nlines",)
    return error


ATTEMPTS = {
    "refused": raising(DataError("a: one line")),
    "messy": raising(with_invalid_message(DataError())),
    "silent": lambda: "changed",
    "harmless": lambda: "same",
}


@pytest.mark.parametrize("kind", ATTEMPTS)
def test_outcome_is_classified(kind: str) -> None:
    assert classify(ATTEMPTS[kind], lambda value: value == "same", DataError).kind == kind


def test_unexpected_error_is_not_an_outcome() -> None:
    with pytest.raises(DataError):
        classify(ATTEMPTS["refused"], lambda value: True, ConfigError)


@dataclass(frozen=True)
class Unverified:
    """The digest in the header of a file, whatever its content."""

    file: FileIO

    def hexdigest(self) -> str:
        return os.pread(self.file.fileno(), SIZE, 0).partition(b"\n")[0].split()[-1].decode()


def test_disabled_checksum_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, other = (materials.make_prepared(tmp_path / f"{seed}.h5", seed) for seed in (0, 1))
    kind = damaged.KINDS["data set"]
    expected = kind.content(kind.read(whole))
    monkeypatch.setattr("hashlib.file_digest", lambda file, name: Unverified(file))
    kinds = set()
    for number in range(60):
        try:
            kinds.add(damaged.read_damaged("data set", whole, (other,), expected, 0, number).kind)
        except Exception:  # the damage reached the parser
            kinds.add("traceback")
    assert "silent" in kinds


def test_a_file_that_is_left_or_differs_is_detected(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
        (folder / "out.h5").write_bytes(b"a data set")
    assert interrupted.folder_difference(*folders) == ""
    (folders[0] / "out.h5").write_bytes(b"another")
    assert interrupted.folder_difference(*folders) == "out.h5 differs"
    (folders[0] / ".out.h5.7.tmp").touch()
    assert interrupted.folder_difference(*folders) == "files: ['.out.h5.7.tmp']"


def test_error_without_a_file_or_with_a_temporary_file_is_detected(tmp_path: Path) -> None:
    right = f"captioner: warning: slow\ncaptioner: {tmp_path}/out.h5: cannot write: No space left on device\n"
    assert interrupted.one_line(Ended(1, right), tmp_path) == ""
    for wrong in (Ended(0, right), Ended(1, ""), Ended(1, f"Traceback\n{right}")):
        assert interrupted.one_line(wrong, tmp_path).startswith("exit code")
    assert interrupted.one_line(Ended(1, "captioner: disk full"), tmp_path).startswith("names no file and reason")
    (tmp_path / ".out.h5.7.tmp").touch()
    assert interrupted.one_line(Ended(1, right), tmp_path) == "left behind: ['.out.h5.7.tmp']"
