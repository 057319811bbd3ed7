"""Photographs of generated scenes in the current folder, the options to prepare them, and their captions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCENES = ("--encoder", "scenes", "--min-count", "1", "--val", "0.25")


@pytest.fixture
def photos_here(album: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has eight photographs with captions in `photos`."""
    monkeypatch.chdir(tmp_path)
    album(Path("photos"))


@pytest.fixture
def new_folder(album: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `new` in the current one, with photographs 070.png to 074.png."""
    monkeypatch.chdir(tmp_path)
    folder = album(Path("new"), 5, first=70).parent
    (folder / "captions.csv").unlink()
    return folder


def by_image(out: str) -> dict[str, str]:
    """The captions that `captioner caption` printed, by photograph."""
    return dict(line.split("\t")[:2] for line in out.splitlines())


@pytest.fixture
def new_captions(cli: Callable[..., Any], photo_run: Path, new_folder: Path) -> dict[str, str]:
    """The captions of the new photographs, each from its own command."""
    found = {}
    for path in sorted(new_folder.iterdir()):
        done = cli("caption", path, "--model", photo_run).succeeded()
        found |= by_image(done.out)
    assert len(set(found.values())) > 2
    return found
