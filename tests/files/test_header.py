"""A checksum header has the kind, version, length and digest of a file; a mismatch is refused with a one-line error."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.errors import CheckpointError, DataError
from captioner.files.saved import SIZE, Kind

KIND = Kind("thing", 3, "a test", DataError, "use another thing")
OTHER = replace(KIND, name="other thing")
CONTENT = bytes(range(200))
DIGEST = hashlib.sha256(CONTENT).hexdigest()
WHOLE = KIND.header(len(CONTENT), DIGEST) + CONTENT


def error_of(path: Path, kind: Kind = KIND) -> str:
    with pytest.raises(kind.error) as caught, kind.verified(path):
        pass
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


@given(length=st.integers(0, 10**18 - 1), version=st.integers(0, 10**9 - 1))
def test_a_header_has_a_fixed_size(length: int, version: int) -> None:
    header = replace(KIND, version=version).header(length, DIGEST)
    assert len(header) == SIZE
    assert header.rstrip(b"\0").decode() == f"captioner thing {version} {length} {DIGEST}\n"


def test_an_open_file_is_positioned_at_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(WHOLE)
    with KIND.open(path) as (file, digest):
        assert file.read() == CONTENT
        assert digest == DIGEST
    assert file.closed


def test_every_byte_of_a_header_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(WHOLE)
    with open(path, "r+b", buffering=0) as file:
        for at in range(SIZE):
            for byte in {0, 10, ord("0"), ord("f"), WHOLE[at] ^ 1} - {WHOLE[at]}:
                os.pwrite(file.fileno(), bytes((byte,)), at)
                with contextlib.suppress(DataError), KIND.verified(path):
                    pytest.fail(f"byte {at}: {byte} instead of {WHOLE[at]} is accepted")
            os.pwrite(file.fileno(), WHOLE[at : at + 1], at)


NOT_ONE = "not a captioner thing, got {}; expected a file that a test wrote"
INVALID = "damaged: invalid header; use another thing"
DAMAGED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", NOT_ONE.format("an empty file")),
    "a text": (b"seed: 3\n" * 100, NOT_ONE.format("a text file")),
    "another kind": (OTHER.header(len(CONTENT), DIGEST) + CONTENT, NOT_ONE.format("a file of an unknown format")),
    "the magic word": (KIND.magic, INVALID),
    "half a header": (WHOLE[: SIZE - 1], INVALID),
    "a longer word": (WHOLE.replace(b"thing ", b"things "), INVALID),
    "a negative length": (KIND.header(-1, DIGEST) + CONTENT, INVALID),
    "capitals": (KIND.header(200, DIGEST.upper()) + CONTENT, INVALID),
    "a later version": (
        replace(KIND, version=4).header(200, DIGEST) + CONTENT,
        "expected thing version 3, got 4; use the version of captioner that wrote it",
    ),
    "no content": (WHOLE[:SIZE], "damaged: expected 200 bytes after the header, got 0"),
    "more": (WHOLE + b"0", "damaged: expected 200 bytes after the header, got 201"),
    "other content": (WHOLE[:-1] + b"0", "damaged: its content does not match its checksum; use another thing"),
}


@pytest.mark.parametrize(("content", "expected"), DAMAGED.values(), ids=DAMAGED)
def test_an_invalid_file_is_refused(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert error_of(path) == expected
    assert error_of(path, replace(KIND, error=CheckpointError)) == expected


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "not found; expected a thing from a test; check the name"),
    "a folder": (lambda path: path.mkdir(), "expected a thing file, got a folder"),
    "a circle": (lambda path: path.symlink_to(path), "cannot open the thing: Too many levels of symbolic links"),
    "a pipe": (lambda path: os.mkfifo(path), "expected a thing file, got a named pipe"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "expected"), PLACES.values(), ids=PLACES)
def test_a_path_without_a_regular_file_is_refused(
    make: Callable[[Path], object], expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    make(path)
    assert error_of(path) == expected
    assert not KIND.matches(path)


def test_a_refused_file_is_closed(tmp_path: Path) -> None:
    path, kept = tmp_path / "a", []
    before = len(os.listdir("/dev/fd"))
    for content in (b"", WHOLE[:-1], WHOLE[:300]):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught, KIND.open(path):
            pass
        kept.append(caught)  # with the frames that raised it
    assert len(os.listdir("/dev/fd")) == before


def test_the_kind_is_detected_by_the_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (WHOLE, KIND.magic):
        path.write_bytes(content)
        assert KIND.matches(path)
        assert KIND.matches(str(path))
    for content in (KIND.magic[:-1], OTHER.magic, b""):
        path.write_bytes(content)
        assert not KIND.matches(path)
