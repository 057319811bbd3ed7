"""Photographs of generated scenes in the current folder, and the options to prepare them."""

from collections.abc import Callable
from pathlib import Path

import pytest

SCENES = ("--encoder", "scenes", "--min-count", "1", "--val", "0.25")


@pytest.fixture
def photos_here(album: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has eight photographs with captions in `photos`."""
    monkeypatch.chdir(tmp_path)
    album(Path("photos"))
