"""Sidecar files: each caption is written beside its photograph, and existing files are kept."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.errors import CaptionerError, UsageError
from captioner.images import photo
from captioner.inference.caption import Caption
from captioner.inference.sidecars import Sidecars, check_suffix


def caption_of(path: Path) -> Caption:
    return Caption(str(path), "a café 猫", -1.0, [], None, [])


@pytest.mark.parametrize("name", ["a.png", "a", "a.b.jpg", ".hidden", "a\nb.png"])
def test_a_sidecar_has_the_name_of_the_photograph(name: str, tmp_path: Path) -> None:
    Sidecars(".txt").write(caption_of(tmp_path / name))
    written = (tmp_path / name).with_suffix(".txt")
    assert os.listdir(tmp_path) == [written.name]
    assert written.read_text(encoding="utf-8") == "a café 猫\n"


def test_an_existing_sidecar_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("precious")
    (tmp_path / "b.txt").symlink_to("not/yet/there")
    sidecars = Sidecars(".txt")
    for name in ("a.png", "b.png", "c.png"):
        sidecars.write(caption_of(tmp_path / name))
    assert sidecars.kept == 2
    assert (tmp_path / "a.txt").read_text() == "precious"
    assert not (tmp_path / "not").exists()
    Sidecars(".txt", overwrite=True).write(caption_of(tmp_path / "a.png"))
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "a café 猫\n"


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_two_photographs_cannot_share_a_sidecar(overwrite: bool, before: bool, tmp_path: Path) -> None:
    if before:
        (tmp_path / "a.txt").write_text("precious")
    sidecars = Sidecars(".txt", overwrite)
    sidecars.write(caption_of(tmp_path / "a.png"))
    sidecars.write(caption_of(tmp_path / "." / "a.png"))
    (tmp_path / "again").symlink_to(tmp_path)
    sidecars.write(caption_of(tmp_path / "again" / "a.png"))
    with pytest.raises(CaptionerError) as caught:
        sidecars.write(caption_of(tmp_path / "a.jpg")._replace(text="another"))
    assert str(caught.value) == (
        f"{tmp_path}/a.txt: {tmp_path}/a.png and {tmp_path}/a.jpg have the same sidecar; rename one of the photographs"
    )
    whole = "precious" if before and not overwrite else "a café 猫\n"
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == whole


def test_a_photograph_is_not_its_own_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"the photograph")
    with pytest.raises(CaptionerError) as caught:
        Sidecars(".txt", overwrite=True).write(caption_of(path))
    assert str(caught.value) == f"{path}: is the photograph itself; try another suffix"
    assert path.read_bytes() == b"the photograph"


def test_an_unwritable_sidecar_is_reported(tmp_path: Path, files_of_at_most: Callable[[int], Any]) -> None:
    with pytest.raises(CaptionerError, match=r"\.txt: cannot write: No such file or directory$"):
        Sidecars(".txt").write(caption_of(tmp_path / "absent/a.png"))
    with files_of_at_most(3), pytest.raises(CaptionerError, match=r"a\.txt: cannot write: File too large$"):
        Sidecars(".txt").write(caption_of(tmp_path / "a.png"))
    assert os.listdir(tmp_path) == []


def test_the_longest_name_has_a_sidecar(tmp_path: Path) -> None:
    name = "a" * 251
    Sidecars(".txt").write(caption_of(tmp_path / f"{name}.png"))
    assert os.listdir(tmp_path) == [f"{name}.txt"]


@pytest.mark.parametrize("suffix", ["", ".", "txt", "./x", ".a/b", *sorted(photo.SUFFIXES), ".JPG"])
def test_invalid_sidecar_suffixes_are_rejected(suffix: str) -> None:
    with pytest.raises(UsageError, match=rf"^--write-sidecar {re.escape(suffix)}: expected a suffix such as \.txt$"):
        check_suffix(suffix)


def test_valid_sidecar_suffixes_are_accepted() -> None:
    for suffix in (".txt", ".caption", ".jpg.txt", ".TXT"):
        check_suffix(suffix)


@pytest.mark.parametrize("overwrite", [True, False])
def test_temporary_files_of_killed_processes_are_removed(overwrite: bool, tmp_path: Path) -> None:
    ended, running = 999_999_999, os.getpid()
    kept = {f".b.txt.{ended}.tmp", f".a.caption.{ended}.tmp", f".a.txt.{running}0.tmp~", f".a.png.{ended}.tmp"}
    for name in {"a.txt", f".a.txt.{ended}.tmp", *kept}:
        (tmp_path / name).touch()
    Sidecars(".txt", overwrite).write(caption_of(tmp_path / "a.png"))
    assert set(os.listdir(tmp_path)) == {"a.txt", *kept}


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed, listdir = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listed.append(folder) or listdir(folder))
    sidecars = Sidecars(".txt")
    for name in ("a.png", "b.png", "sub/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        sidecars.write(caption_of(tmp_path / name))
    assert listed == [tmp_path, tmp_path / "sub"]
