"""Servers that tests share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Served, served


@pytest.fixture(scope="session")
def photograph(album: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the picture of a generated scene, beside seven others."""
    folder = tmp_path_factory.mktemp("served")
    album(folder, 8)
    return folder / "000.png"


@pytest.fixture
def album_file(
    album: Callable[..., Path], photo_run: Path, cli: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:  # fmt: skip
    """An album of the photographs 070.png to 074.png in `new`."""
    monkeypatch.chdir(tmp_path)
    album(Path("new"), 5, first=70).unlink()
    assert cli("caption", "new", "--model", photo_run, "--album", "a.db").code == 0
    return tmp_path / "a.db"


@pytest.fixture
def site(album_file: Path, photo_run: Path) -> Iterator[Served]:
    """A server of an album."""
    with served(photo_run, "--album", album_file) as running:
        yield running


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
