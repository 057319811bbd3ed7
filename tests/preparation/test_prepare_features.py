"""Precomputed features: the row of each image, and their declared encoder."""

import contextlib
import hashlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from preparing import COUNT, EXPECTED, SCENES, Counted, feature_file, features_by_name, made, refusal

from captioner.config.options import Prepare
from captioner.data.prepared import prepared
from captioner.data.scenes import ENCODER, FEATURES
from captioner.photos.prepare import prepare


def test_rows_are_found_by_name(photos: Path, encoded: Counted) -> None:
    """In any order, also of images that the captions do not have; names are normalized as in caption files."""
    order = [3, 9, 1, 0, 2, 7, 6, 5, 4]
    values = np.array(order, np.float32)[:, None] + [0, 0.5]
    file = feature_file(photos.parent, values, names=[f"./{row:03}.png" for row in order])
    corpus, events = made(photos, features=file, encoder=None)
    assert {name: row.tolist() for name, row in features_by_name(corpus).items()} == {
        f"{row:03}.png": [row, row + 0.5] for row in range(COUNT)
    }
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert corpus.encoder == f"features:features.h5,sha256={digest}"
    assert (len(events), encoded()) == (1, 0)


def test_an_image_without_a_row_is_left_out(photos: Path) -> None:
    file = feature_file(photos.parent, EXPECTED[1:], names=[f"{row:03}.png" for row in range(1, COUNT)])
    corpus, events = made(photos, features=file)
    assert sorted(features_by_name(corpus)) == [f"{row:03}.png" for row in range(1, COUNT)]
    assert str(events[0]) == f"000.png: not found in {file}"
    assert events[-1].summary["counts"]["missing"] == 1  # type: ignore[union-attr]


NAMES: dict[str, tuple[Any, str]] = {
    "none": (
        None,
        "dataset not found; this file has 'features'; expected the image name of each row, such as np.char.",
    ),
    "too few": ([b"a", b"b"], "expected 3 names, one per row of features, got 2"),
    "twice": ([b"a", b"./b", b"b"], "expected each name once, got 'b' twice"),
    "another encoding": ([b"a", b"b\xe9", b"c"], "expected UTF-8 text, got b'b\\xe9'"),
    "numbers": ([1, 2, 3], "expected fixed-length strings (rows,), got int64 (3,); expected the image name of each "),
    "of other images": ([b"a", b"b", b"c"], "expected features of 8 images, such as "),
}


@pytest.mark.parametrize("name", NAMES)
def test_invalid_names_of_rows_are_reported(name: str, photos: Path) -> None:
    names, problem = NAMES[name]
    file = photos.parent / "features.h5"
    with h5py.File(file, "w") as content:
        content["features"] = np.ones((3, 2), np.float32)
        if names is not None:
            content["images"] = np.array(names)
    where = "" if "features of" in problem else "dataset 'images': "
    assert refusal(photos, features=file, encoder=None).startswith(f"{file}: {where}{problem}")


def test_features_of_another_encoder_are_rejected(photos: Path) -> None:
    file = feature_file(photos.parent, EXPECTED[:, :-1])
    assert refusal(photos, features=file) == (
        f"{file}: expected {FEATURES} features per image for {ENCODER}, got {FEATURES - 1}"
    )


@pytest.mark.parametrize(("mean", "deviation"), [(4096, 0.1), (7e4, 1), (100, 1)])
def test_features_for_which_float16_is_too_coarse_are_stored_in_float32(
    photos: Path, mean: float, deviation: float
) -> None:
    """One column of a hundred is enough; a constant one says nothing about an image."""
    features = np.random.default_rng(0).standard_normal((COUNT, 100)).astype(np.float32)
    features[:, 1] = mean + deviation * features[:, 1]
    features[:, 2] = 4096.3
    fits = deviation == 1 and mean < 7e4
    options = Prepare(**{**SCENES, "features": (feature_file(photos.parent, features),), "encoder": None})
    output = photos.parent / "half.h5"
    context = contextlib.nullcontext() if fits else pytest.warns(UserWarning, match="features are stored in float32")
    with context:
        list(prepare([str(photos / "captions.csv")], output, options))
    stored = np.concatenate([split.features[:] for split in prepared(output).splits.values()])
    assert stored.dtype == (np.float16 if fits else np.float32)
    own = np.sort(stored[:, 1]), np.sort(features[:, 1])
    np.testing.assert_allclose(*own, atol=0.1 * deviation)


def test_features_of_which_float32_loses_the_differences_are_refused(photos: Path) -> None:
    features = 1e6 + 1e-4 * np.random.default_rng(0).standard_normal((COUNT, 3))
    refused = refusal(photos, features=feature_file(photos.parent, features), encoder=None)
    assert "expected features that differ in float32, got a column whose standard deviation is too small" in refused


def test_unusable_features_are_rejected(photos: Path) -> None:
    file = feature_file(photos.parent, np.full((COUNT, 3), np.nan, np.float32))
    assert refusal(photos, features=file, encoder=None) == (
        "000.png: features: expected numbers in the range of float32, got nan"
    )
    file.write_bytes(b"text")
    assert refusal(photos, features=file, encoder=None) == (f"{file}: expected an HDF5 file, got a text file")
