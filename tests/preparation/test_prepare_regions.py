"""Preparation with image regions: encoded in one pass, or read from a file."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from preparing import COUNT, EXPECTED, Counted, feature_file, features_by_name, refusal
from preparing import made as made_without

from captioner.data.corpus import Corpus
from captioner.data.scenes import ENCODER, encode_regions, example
from captioner.errors import UsageError
from captioner.photos.encoders import ScenesEncoder

PICTURES = np.stack([example(0, "train", index).picture for index in range(COUNT)])
REGIONS = encode_regions(PICTURES).reshape(COUNT, 3, 3, 77)


made = partial(made_without, regions=True)


def regions_by_name(corpus: Corpus) -> dict[str, np.ndarray]:
    return {image: split.regions[row] for split in corpus.splits.values() for row, image in enumerate(split.image_ids)}


def test_regions_are_stored_with_the_features_of_their_images(photos: Path, encoded: Counted) -> None:
    corpus, events = made(photos)
    assert (corpus.grid, corpus.region_dim, corpus.encoder) == ((3, 3), 77, ENCODER)
    assert encoded() == COUNT
    regions = regions_by_name(corpus)
    for name, features in features_by_name(corpus).items():
        np.testing.assert_allclose(features, EXPECTED[int(name[:3])], atol=2e-3)
        np.testing.assert_allclose(regions[name], REGIONS[int(name[:3])], atol=2e-3)
        assert regions[name].dtype == np.float16
    assert events[-1].summary["regions"] == [3, 3, 77]  # type: ignore[union-attr]


def test_features_do_not_depend_on_regions(photos: Path) -> None:
    corpus, _ = made(photos)
    without, _ = made_without(photos, overwrite=True)
    assert without.train_digest == corpus.train_digest
    for name, features in features_by_name(without).items():
        np.testing.assert_array_equal(features, features_by_name(corpus)[name])


def test_an_encoder_without_regions_is_rejected(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_without(photos)
    before = (photos.parent / "out.h5").read_bytes()
    monkeypatch.setattr(ScenesEncoder, "regions", None)
    message = refusal(photos, UsageError, regions=True, overwrite=True)
    assert message == "--regions: encoder scenes has no regions; use everyday, or omit --regions"
    assert (photos.parent / "out.h5").read_bytes() == before
    file = feature_file(photos.parent, EXPECTED, REGIONS)
    message = refusal(photos, UsageError, regions=True, features=file, overwrite=True)
    assert message == "--regions: encoder scenes has no regions; omit --regions"
    assert (photos.parent / "out.h5").read_bytes() == before


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (2, 64)])
def test_a_photograph_smaller_than_a_region_is_enlarged(size: tuple[int, int], photos: Path) -> None:
    Image.new("RGB", size, (200, 30, 30)).save(photos / "003.png")
    corpus, _ = made(photos)
    assert regions_by_name(corpus)["003.png"].shape == (3, 3, 77)


def test_regions_are_read_from_the_file_of_the_features(photos: Path, encoded: Counted) -> None:
    file = feature_file(photos.parent, EXPECTED, REGIONS[:, :, :2, :5])
    corpus, _ = made(photos, features=file, encoder=None)
    assert (corpus.grid, corpus.region_dim) == ((3, 2), 5)
    for name, regions in regions_by_name(corpus).items():
        np.testing.assert_array_equal(regions, REGIONS[int(name[:3]), :, :2, :5])
    assert encoded() == 0


def test_regions_have_the_grid_of_the_declared_encoder(photos: Path) -> None:
    corpus, _ = made(photos, features=feature_file(photos.parent, EXPECTED, REGIONS))
    assert corpus.encoder == ENCODER
    file = feature_file(photos.parent, EXPECTED, REGIONS[:, :2])
    assert refusal(photos, regions=True, features=file, overwrite=True) == (
        f"{file}: expected regions (3, 3, 77) per image for {ENCODER}, got (2, 3, 77)"
    )


WRONG = {
    "none": (None, "dataset 'regions': dataset not found; this file has 'features', 'images'"),
    "too few rows": (REGIONS[:-1], "regions: expected 8 images, one per row of features, got 7"),
    "no grid": (
        REGIONS.reshape(8, 9, 77),
        "dataset 'regions': expected floats (images, rows, columns, numbers), got float32 (8, 9, 77)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_invalid_regions_of_a_file_are_reported(name: str, photos: Path) -> None:
    values, expected = WRONG[name]
    file = feature_file(photos.parent, EXPECTED, values)
    message = refusal(photos, regions=True, features=file, encoder=None)
    assert message.removeprefix(f"{file}: ") == expected
