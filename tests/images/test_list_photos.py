"""Photographs of a folder and its subfolders are listed in order."""

from pathlib import Path

import pytest

from captioner.images.photo import LINK, list_photos


def test_photographs_in_a_folder_are_sorted(tmp_path: Path) -> None:
    for name in (
        "b.JPG",
        "a.png",
        "notes.txt",
        ".hidden.png",
        "sub/c.webp",
        ".git/d.png",
        "sub/.x/e.png",
        "sub/f",
        "g.jpg/h.gif",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    found = [str(path.relative_to(tmp_path)) for path in list_photos(tmp_path, pytest.fail)]
    assert found == ["a.png", "b.JPG", "g.jpg/h.gif", "sub/c.webp"]


def test_a_link_to_a_folder_elsewhere_is_reported_and_not_followed(tmp_path: Path) -> None:
    for name in ("album/a.png", "album/more/b.png", "other/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for link, folder in (("x", "other"), ("y", "album/more"), ("z", "album"), ("up", "."), ("gone", "nowhere")):
        (tmp_path / "album" / link).symlink_to(tmp_path / folder)
    errors: list[OSError] = []
    assert list_photos(tmp_path / "album", errors.append) == [
        tmp_path / "album" / "a.png",
        tmp_path / "album" / "more" / "b.png",
    ]
    assert sorted(error.filename for error in errors) == [str(tmp_path / "album" / link) for link in ("up", "x")]
    assert {error.strerror for error in errors} == {LINK}


def test_a_hidden_folder_given_by_name_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".photos").mkdir()
    (tmp_path / ".photos" / "a.png").write_bytes(b"")
    assert list_photos(tmp_path / ".photos", pytest.fail) == [tmp_path / ".photos" / "a.png"]
    monkeypatch.chdir(tmp_path / ".photos")
    assert list_photos(Path(), pytest.fail) == [Path("a.png")]
    assert list_photos(Path("../.photos"), pytest.fail) == [Path("../.photos/a.png")]


@pytest.mark.usefixtures("unreadable_shut")
def test_an_unreadable_folder_is_reported(tmp_path: Path) -> None:
    for name in ("a.png", "shut/b.png", "z/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    errors: list[OSError] = []
    assert list_photos(tmp_path, errors.append) == [tmp_path / "a.png", tmp_path / "z" / "c.png"]
    assert [error.filename for error in errors] == [str(tmp_path / "shut")]
