"""Photographs to caption are found in folders, and names that cannot be captioned are reported."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from captioner.errors import DataError
from captioner.images import photo as photo_module
from captioner.images.photo import heic_remedy
from captioner.images.scenes_encoder import ScenesEncoder
from captioner.inference import photographs
from captioner.inference.caption import Caption
from captioner.inference.load import captioner_of
from captioner.inference.photographs import photo_paths
from captioner.inference.restore import Restored

SCENES = ScenesEncoder()


def test_photographs_of_a_folder_are_in_order(tmp_path: Path, album: Callable[..., Path]) -> None:
    folder = album(tmp_path / "b", 3).parent
    (folder / "below").mkdir()
    shutil.copy(folder / "000.png", folder / "below" / "x.JPG")
    (folder / ".hidden.png").touch()
    (tmp_path / "a.png").touch()
    (tmp_path / "empty").mkdir()
    found = list(photo_paths([tmp_path / "a.png", folder, tmp_path / "empty", "no", folder / "captions.csv"]))
    inside = [folder / name for name in ("000.png", "001.png", "002.png", "below/x.JPG")]
    empty = f"{tmp_path / 'empty'}: expected photographs in this folder, got none"
    assert [str(photo) for photo in found[:5]] == [str(tmp_path / "a.png"), *map(str, inside)]
    assert [str(photo) for photo in found[5:]] == [empty, "no", str(folder / "captions.csv")]


def test_unsupported_inputs_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "can_read_heic", lambda: False)
    monkeypatch.setattr(photo_module, "can_read_heic", lambda: False)
    for name in ("a.jpg", "b.HEIC", "c.heif"):
        (tmp_path / name).touch()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "d.heic").touch()
    found = [str(one) for one in photo_paths([tmp_path, tmp_path / "b", Path("https://h.org/a.jpg")])]
    assert found == [
        f"{tmp_path}/a.jpg",
        f"{tmp_path}/b/d.heic and 2 more: HEIC is not supported; {heic_remedy()}",
        f"{tmp_path}/b/d.heic: HEIC is not supported; {heic_remedy()}",
        "https:/h.org/a.jpg: URLs are not supported; download the photograph first",
    ]


@pytest.mark.usefixtures("unreadable_shut")
def test_an_unreadable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir()
    (tmp_path / "a.png").touch()
    failed = f"{tmp_path / 'shut'}: cannot be read: Permission denied"
    assert list(map(str, photo_paths([tmp_path]))) == [str(tmp_path / "a.png"), failed]
    assert list(map(str, photo_paths([tmp_path / "shut"]))) == [failed]


def test_an_empty_folder_is_reported_last(photo_model: Restored, new_photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = list(captioner_of(photo_model).caption_photos(photo_paths([tmp_path / "empty", *new_photos]), SCENES))
    assert [type(one) for one in found] == [Caption] * 6 + [DataError]


@pytest.mark.parametrize("name", ["a b.png", "a\nb.png", "a\tb.png", "猫.png", "\udcff.png", "-.png", "#.png"])
def test_any_file_name_is_supported(name: str, photo_model: Restored, new_photos: list[Path]) -> None:
    odd = new_photos[0].rename(new_photos[0].with_name(name))
    assert list(photo_paths([odd])) == [odd]
    (caption,) = captioner_of(photo_model).caption_photos([odd], SCENES)
    assert isinstance(caption, Caption)
    assert caption.image == str(odd)


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "a/" * 3000])
def test_impossible_file_names_are_reported(name: str, photo_model: Restored, new_photos: list[Path]) -> None:
    found = list(captioner_of(photo_model).caption_photos(photo_paths([name, new_photos[0]]), SCENES))
    assert [type(one) for one in found] == [DataError, Caption]
