"""Servers that tests share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from serving import Served, served


@pytest.fixture(scope="session")
def photograph(album: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the picture of a generated scene, beside seven others."""
    folder = tmp_path_factory.mktemp("served")
    album(folder, 8)
    return folder / "000.png"


@pytest.fixture(scope="session")
def server(photo_run: Path) -> Iterator[Served]:
    """A server of a model without attention."""
    with served(photo_run) as running:
        yield running


@pytest.fixture(scope="session")
def attention_server(attention_run: Path) -> Iterator[Served]:
    """A server of a model with attention."""
    with served(attention_run) as running:
        yield running
