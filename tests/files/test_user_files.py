"""Files that a user names: regular files of a bounded size, remedies for missing ones, optional JSON."""

import os
import re
from pathlib import Path

import pytest

from captioner.errors import DataError, UsageError
from captioner.files.user_files import (
    MAX_ENTRIES,
    check_output,
    enough_memory,
    missing_remedy,
    read_bytes,
    read_text,
)


def error_of(call, *args):
    with pytest.raises(DataError) as caught:
        call(*args)
    return str(caught.value)


def test_text_is_read_with_and_without_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.txt"
    for mark in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(mark + "Öl\n".encode())
        assert read_text(path) == "Öl\n"


def test_text_that_is_not_utf8_is_refused_with_the_first_bad_byte(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"caf\xe9 au lait")
    got = "b'\\xe9' at byte 3 of a file of an unknown format"
    assert error_of(read_text, path) == f"{path}: expected UTF-8 text, got {got}"


def test_bytes_are_read_up_to_a_limit(tmp_path):
    path = tmp_path / "a"
    for content in (b"", b"\xff\xfe\0\r\n"):
        path.write_bytes(content)
        assert read_bytes(path, 5) == read_bytes(str(path), 1 << 30) == content
    assert error_of(read_bytes, path, 4) == f"{path}: expected a file of at most 4 bytes, got 5"
    assert error_of(read_bytes, tmp_path, 4) == f"{tmp_path}: expected a regular file, got a folder"
    assert error_of(read_bytes, "n" * 300, 4) == f"{'n' * 300}: cannot be opened: File name too long"


def test_content_for_which_memory_is_not_enough_is_named():
    def parse():
        with enough_memory("big.jsonl"):
            raise MemoryError

    assert error_of(parse) == "big.jsonl: cannot be read: not enough memory"


def test_a_path_that_is_not_a_regular_file_is_refused_without_blocking(tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    assert error_of(read_text, pipe) == f"{pipe}: expected a regular file, got a named pipe"
    assert error_of(read_text, link) == f"{link}: expected a regular file, got a named pipe"
    assert error_of(read_text, tmp_path) == f"{tmp_path}: expected a regular file, got a folder"
    assert error_of(read_text, "/dev/null") == "/dev/null: expected a regular file, got a device"
    assert error_of(read_text, tmp_path / "no") == f"{tmp_path / 'no'}: not found; expected a file; check the name"
    assert re.fullmatch(r"a\\x00b: cannot be opened: .*null.*", error_of(read_text, "a\0b"))


@pytest.fixture
def _photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("photos/Beach.jpg").touch()
    Path("photos/IMG_0012.jpg").touch()
    Path("link.jpg").symlink_to("gone.jpg")


MISSING = {
    "photos/beach.jpg": "did you mean photos/Beach.jpg?",
    "photos/Beach.JPG": "did you mean photos/Beach.jpg?",
    "photos/beach.jpeg": "did you mean photos/Beach.jpg?",
    "photos/beech.jpg": "did you mean photos/Beach.jpg?",
    "photos/IMG_0013.jpg": "relative names start at {here}",
    "photos/IMG-0012.JPG": "did you mean photos/IMG_0012.jpg?",
    "foto/more/beach.jpg": "folder not found: foto/more",
    "link.jpg": "it is a broken link to gone.jpg",
    "market.png": "relative names start at {here}",
    "{here}/market.png": "check the name",
}


@pytest.mark.usefixtures("_photos")
@pytest.mark.parametrize(("name", "expected"), MISSING.items())
def test_what_to_try_for_a_missing_file(name: str, expected: str, tmp_path: Path) -> None:
    here = tmp_path.resolve()
    assert missing_remedy(name.format(here=here)) == expected.format(here=here)


@pytest.mark.usefixtures("_photos")
def test_the_number_of_compared_names_is_bounded() -> None:
    with pytest.raises(DataError, match=r"^photos/beach\.jpg: not found; expected a photograph; did you mean photos/B"):
        read_bytes("photos/beach.jpg", 9, expected="a photograph")
    for number in range(MAX_ENTRIES + 5):
        Path("photos", f"{number:08}").touch()
    assert missing_remedy("photos/market.png") == f"relative names start at {Path.cwd()}"


def test_a_kill_between_the_creation_of_a_file_and_the_removal_of_its_temporary_one_leaves_one_file(
    tmp_path: Path,
) -> None:
    path, temporary = tmp_path / "a.h5", tmp_path / ".a.h5.999999999.tmp"
    path.touch()
    os.link(path, temporary)
    with pytest.raises(UsageError, match="exists already"):
        check_output(path, overwrite=False)
    assert [*tmp_path.iterdir()] == [path]
