"""What to try when a file is missing."""

from pathlib import Path

import pytest

from captioner.errors import DataError
from captioner.storage.files import read_bytes
from captioner.storage.missing import MAX_ENTRIES, remedy


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("photos/Beach.jpg").touch()


@pytest.mark.parametrize("name", ["beach.jpg", "Beach.JPG", "beach.jpeg", "beech.jpg"])
def test_a_similar_name_is_suggested(name: str) -> None:
    assert remedy(Path("photos") / name) == "did you mean photos/Beach.jpg?"


def test_a_name_with_another_number_is_not_similar() -> None:
    Path("photos/IMG_0012.jpg").touch()
    assert remedy("photos/IMG_0013.jpg").startswith("relative names start at ")
    assert remedy("photos/IMG-0012.JPG") == "did you mean photos/IMG_0012.jpg?"


def test_a_missing_folder_is_named() -> None:
    assert remedy("foto/more/beach.jpg") == "folder not found: foto"
    assert remedy("photos/more/beach.jpg") == "folder not found: photos/more"


def test_a_broken_link_is_named() -> None:
    Path("link.jpg").symlink_to("gone.jpg")
    assert remedy("link.jpg") == "it is a broken link to gone.jpg"


def test_otherwise_the_place_of_relative_names_is_stated(tmp_path: Path) -> None:
    assert remedy("market.png") == f"relative names start at {tmp_path.resolve()}"
    assert remedy(tmp_path / "market.png") == "check the name"


def test_a_deleted_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path / "photos")
    (tmp_path / "photos" / "Beach.jpg").unlink()
    (tmp_path / "photos").rmdir()
    assert remedy("market.png") == "check the name"


def test_the_number_of_compared_names_is_bounded() -> None:
    for number in range(MAX_ENTRIES + 5):
        Path("photos", f"{number:08}").touch()
    assert remedy("photos/market.png") == f"relative names start at {Path.cwd()}"


def test_the_message_has_what_was_expected() -> None:
    with pytest.raises(DataError, match=r"^photos/beach\.jpg: not found; expected a photograph; did you mean photos/B"):
        read_bytes("photos/beach.jpg", 9, expected="a photograph")
