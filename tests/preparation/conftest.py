"""Photographs to prepare a data set from, and how many were encoded."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from preparing import COUNT, Counted

from captioner.images.scenes_encoder import ScenesEncoder


@pytest.fixture(scope="module")
def painted(album: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return album(tmp_path_factory.mktemp("painted"), COUNT).parent


@pytest.fixture
def photos(painted: Path, tmp_path: Path) -> Path:
    """A folder of photographs and captions.csv, to be changed."""
    return Path(shutil.copytree(painted, tmp_path / "photos"))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted, original = Counted(), ScenesEncoder.encode

    def encode(self: ScenesEncoder, batch: np.ndarray) -> np.ndarray:
        counted.number += len(batch)
        return original(self, batch)

    monkeypatch.setattr(ScenesEncoder, "encode", encode)
    return counted
