"""A model, and photographs to caption."""

from collections.abc import Callable
from pathlib import Path

import pytest

from captioner.captioning.load import open_run
from captioner.captioning.saved_model import SavedModel


@pytest.fixture(scope="module")
def photo_model(photo_run: Path) -> SavedModel:
    """The model of a run on photographs."""
    return open_run(photo_run)


@pytest.fixture
def new_photos(album: Callable[..., Path], tmp_path: Path) -> list[Path]:
    """Photographs outside the training data."""
    return sorted(album(tmp_path / "new", 6, first=50).parent.glob("*.png"))
