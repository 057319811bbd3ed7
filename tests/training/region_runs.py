"""Fixtures of photographs with regions, and of runs with attention trained on them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from captioner.config.options import Prepare
from captioner.config.yaml_io import parse
from captioner.preparation.prepare import prepare
from captioner.training.train import train

OPTIONS = (
    "model.attention=adaptive",
    "model.attention_dim=8",
    "model.dropout_regions=0.2",
    "data.standardize=true",
    "data.source=prepared",
    "train.batch_size=5",
    "train.captions_per_image=2",
    "train.learning_rate=0.01",
    "train.log_every=1",
    "decode.max_length=8",
)


class RegionPhotos(NamedTuple):
    """A folder of photographs, their data set with regions, and the same without."""

    folder: Path
    data: Path
    plain: Path


@pytest.fixture(scope="session")
def region_photos(album: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> RegionPhotos:
    """Photographs, to be read alone."""
    folder = tmp_path_factory.mktemp("regions")
    source = album(folder / "photos")
    for name, regions in (("data.h5", True), ("plain.h5", False)):
        options = Prepare(encoder="scenes", val=0.25, test=0.25, min_count=1, regions=regions)
        list(prepare([str(source)], folder / name, options))
    return RegionPhotos(folder / "photos", folder / "data.h5", folder / "plain.h5")


@pytest.fixture(scope="session")
def train_on_regions(
    region_photos: RegionPhotos, small: Sequence[str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Trains a run on the photographs, and returns its folder."""

    def run(*options: str) -> Path:
        folder = tmp_path_factory.mktemp("runs") / "run"
        for _ in train(parse("", "", [*small, *OPTIONS, f"data.root={region_photos.data}", *options]), folder):
            pass
        return folder

    return run


@pytest.fixture(scope="session")
def region_run(train_on_regions: Callable[..., Path]) -> Path:
    """The folder of a run, to be read alone."""
    return train_on_regions("train.max_steps=6")
