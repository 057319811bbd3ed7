"""Fixtures of data set preparation: photographs, and an encoder that counts calls."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from preparing import COUNT, Counted

from captioner.photos.encoders import ScenesEncoder


@pytest.fixture(scope="module")
def photo_album(album: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return album(tmp_path_factory.mktemp("photo_album"), COUNT).parent


@pytest.fixture
def photos(photo_album: Path, tmp_path: Path) -> Path:
    """A folder of photographs and captions.csv, which a test may modify."""
    return Path(shutil.copytree(photo_album, tmp_path / "photos"))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted, original = Counted(), ScenesEncoder.encode
    counted()  # threads of an earlier test have ended

    def encode(self: ScenesEncoder, prepared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counted.number += 1
        return original(self, prepared)

    monkeypatch.setattr(ScenesEncoder, "encode", encode)
    return counted
