"""Optional JSON files: a missing or damaged one counts as empty."""

from pathlib import Path

import pytest

from captioner.storage.json_object import read_json_object


def test_an_object_is_read(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"steps": 3}')
    assert read_json_object(tmp_path / "one.json") == {"steps": 3}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 200_000, b'{"a": ' * 200_000])
def test_a_damaged_file_is_empty(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_bytes(content)
    assert read_json_object(tmp_path / "one.json") == {}


def test_a_missing_file_and_a_folder_are_empty(tmp_path: Path) -> None:
    assert read_json_object(tmp_path / "none.json") == {}
    assert read_json_object(tmp_path) == {}
