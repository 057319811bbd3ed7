"""A seal contains the kind, version, length and digest of a file; a mismatch is refused with a one-line error."""

import contextlib
import hashlib
import io
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.errors import CheckpointError, DataError
from captioner.storage.sealed import BLOCK, SIZE, Seal, digest_of

SEAL = Seal("thing", version=3, writer="a test", max_bytes=1000, error=DataError)
OTHER = Seal("other thing", version=3, writer="a test", max_bytes=1000, error=DataError)
PAYLOAD = bytes(range(200))
DIGEST = hashlib.sha256(PAYLOAD).hexdigest()
WHOLE = SEAL.of(len(PAYLOAD), DIGEST) + PAYLOAD


def opened(path: Path, seal: Seal = SEAL) -> str:
    """Return the digest of a valid seal."""
    with seal.open(path) as (_, digest):
        return digest


def error_of(path: Path, seal: Seal = SEAL) -> str:
    with pytest.raises(seal.error) as caught:
        opened(path, seal)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


@given(length=st.integers(0, 10**18 - 1), version=st.integers(0, 10**9 - 1))
def test_a_seal_has_a_fixed_size(length: int, version: int) -> None:
    seal = replace(SEAL, version=version).of(length, DIGEST)
    assert len(seal) == SIZE
    assert seal.rstrip(b"\0").decode() == f"captioner thing {version} {length} {DIGEST}\n"


def test_a_valid_file_is_positioned_at_its_image(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(WHOLE)
    with SEAL.open(path) as (file, digest):
        assert file.tell() == SIZE
        assert digest_of(file) == digest == DIGEST
    assert file.closed


@given(
    size=st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 7]), first=st.sampled_from([0, 1, SIZE, BLOCK])
)
def test_the_digest_covers_the_rest_of_the_file(size: int, first: int) -> None:
    content = b"\x07" * first + b"\x09" * size
    file = io.BytesIO(content)
    file.seek(first)
    assert digest_of(file) == hashlib.sha256(content[first:]).hexdigest()


def test_every_byte_of_a_seal_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(WHOLE)
    with open(path, "r+b", buffering=0) as file:
        for at in range(SIZE):
            for byte in {0, 10, ord("0"), ord("f"), WHOLE[at] ^ 1} - {WHOLE[at]}:
                os.pwrite(file.fileno(), bytes((byte,)), at)
                with contextlib.suppress(DataError):
                    assert opened(path) != DIGEST, f"byte {at}: {byte} instead of {WHOLE[at]} is accepted"
            os.pwrite(file.fileno(), WHOLE[at : at + 1], at)


KIND = "not a captioner thing; expected a file that a test wrote"
DAMAGED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", KIND),
    "a text": (b"seed: 3\n" * 100, KIND),
    "another kind": (OTHER.of(len(PAYLOAD), DIGEST) + PAYLOAD, KIND),
    "the magic word": (SEAL.magic, "damaged: invalid seal; use another thing"),
    "half a seal": (WHOLE[: SIZE - 1], "damaged: invalid seal; use another thing"),
    "a longer word": (WHOLE.replace(b"thing ", b"things "), "damaged: invalid seal; use another thing"),
    "a negative length": (SEAL.of(-1, DIGEST) + PAYLOAD, "damaged: invalid seal; use another thing"),
    "capitals": (SEAL.of(200, DIGEST.upper()) + PAYLOAD, "damaged: invalid seal; use another thing"),
    "a later version": (
        replace(SEAL, version=4).of(200, DIGEST) + PAYLOAD,
        "expected thing version 3, got 4; use the version of captioner that wrote it",
    ),
    "no payload": (WHOLE[:SIZE], "damaged: expected 200 bytes after the seal, got 0"),
    "cut": (WHOLE[:-1], "damaged: expected 200 bytes after the seal, got 199"),
    "more": (WHOLE + b"0", "damaged: expected 200 bytes after the seal, got 201"),
    "too much": (SEAL.of(1001, DIGEST) + bytes(1001), "expected a thing of at most 1,000 bytes, got 1,001"),
}


@pytest.mark.parametrize(("content", "expected"), DAMAGED.values(), ids=DAMAGED)
def test_an_invalid_file_is_refused(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert error_of(path) == expected


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "not found; expected a thing from a test; check the name"),
    "a folder": (lambda path: path.mkdir(), "expected a thing file, got a folder"),
    "a circle": (lambda path: path.symlink_to(path), "cannot open the thing: Too many levels of symbolic links"),
    "a pipe": (lambda path: os.mkfifo(path), "expected a thing file, got a named pipe"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "expected a thing file, got a device"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "expected"), PLACES.values(), ids=PLACES)
def test_a_path_without_a_regular_file_is_refused(
    make: Callable[[Path], object], expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    make(path)
    assert error_of(path) == expected
    assert not SEAL.matches(path)


def test_an_impossible_file_name_is_refused(tmp_path: Path) -> None:
    for name, expected in (("a\0b", ".*null (byte|character in path)"), ("a" * 5000, "File name too long")):
        with pytest.raises(DataError) as caught:
            opened(tmp_path / name)
        assert re.search(rf"cannot open the thing: {expected}$", str(caught.value))
        assert not SEAL.matches(tmp_path / name)


def test_each_kind_raises_its_error_class(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="use another thing"):
        replace(SEAL, error=CheckpointError).raise_damaged(tmp_path)
    with pytest.raises(
        DataError, match=f"^{tmp_path}: damaged: its content does not match its seal; use another thing$"
    ):
        SEAL.raise_damaged(tmp_path)


def test_a_refused_file_is_closed(tmp_path: Path) -> None:
    path, kept = tmp_path / "a", []
    before = len(os.listdir("/dev/fd"))
    for content in (b"", WHOLE[:-1], WHOLE[:300]):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            opened(path)
        kept.append(caught)  # with the frames that raised it
    assert len(os.listdir("/dev/fd")) == before


def test_the_kind_is_detected_by_the_magic_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content, expected in (
        (WHOLE, True),
        (SEAL.magic, True),
        (SEAL.magic[:-1], False),
        (OTHER.magic, False),
        (b"", False),
    ):
        path.write_bytes(content)
        assert SEAL.matches(path) is expected
        assert SEAL.matches(str(path)) is expected
