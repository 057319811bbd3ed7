"""Precomputed features, and verification of their declared encoder."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from preparing import COUNT, EXPECTED, Counted, events_of, feature_file, features_by_name, made, refusal

from captioner.config.options import Prepare
from captioner.data.prepared import prepared
from captioner.data.scene_encoding import ENCODER, FEATURES
from captioner.errors import DataError, UsageError
from captioner.preparation.prepare import prepare


def test_rows_follow_the_order_of_the_table(photos: Path, encoded: Counted) -> None:
    values = np.arange(COUNT * 3, dtype=np.float32).reshape(COUNT, 3)
    file = feature_file(photos.parent, values)
    corpus, events = made(photos, features=file, encoder=None)
    for name, row in features_by_name(corpus).items():
        np.testing.assert_array_equal(row, values[int(name[:3])])
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert corpus.encoder == f"features:features.h5,sha256={digest}"
    assert (len(events), encoded()) == (1, 0)


def test_rows_are_selected_by_image_number(photos: Path) -> None:
    images = [
        {"filename": f"{row:03}.png", "split": "train", "imgid": COUNT - 1 - row, "sentences": [{"raw": "a dog"}]}
        for row in range(COUNT)
    ]
    (photos / "dataset.json").write_text(json.dumps({"images": images}))
    values = np.arange(COUNT, dtype=np.float32)[:, None]
    list(
        events_of(
            photos / "dataset.json", photos.parent / "out.h5", features=feature_file(photos, values), encoder=None
        )
    )
    train = prepared(photos.parent / "out.h5").split("train")
    assert train.features[:].ravel().tolist() == values.ravel().tolist()[::-1]


def test_images_cannot_share_a_row(photos: Path) -> None:
    """Every COCO file numbers its images from 0."""
    for split in ("train", "val"):
        content = {
            "images": [{"id": 1, "file_name": f"{split}.png"}],
            "annotations": [{"image_id": 1, "caption": "a dog"}],
        }
        (photos / f"captions_{split}.json").write_text(json.dumps(content))
    file = feature_file(photos.parent, np.ones((6, 3), np.float32))
    sources = [str(photos / f"captions_{split}.json") for split in ("train", "val")]
    with pytest.raises(DataError) as caught:
        list(prepare(sources, photos.parent / "out.h5", Prepare(features=file)))
    assert str(caught.value) == (
        f"{file}: row 0: expected one image, got 2 (train.png, val.png); prepare each caption file separately"
    )


def test_images_without_a_row_are_skipped(photos: Path) -> None:
    file = feature_file(photos.parent, np.ones((6, 3), np.float32))
    corpus, events = made(photos, features=file, encoder=None)
    assert [str(event) for event in events[:-1]] == [
        f"{name}: expected a row of {file} below 6, got {row}" for row, name in ((6, "006.png"), (7, "007.png"))
    ]
    assert sorted(features_by_name(corpus)) == [f"{index:03}.png" for index in range(6)]
    counts = events[-1].summary["counts"]  # type: ignore[union-attr]
    assert (counts["missing"], counts["unreadable"]) == (2, 0)


def test_no_matching_row_is_an_error(photos: Path) -> None:
    images = [{"filename": "000.png", "split": "train", "imgid": 9, "sentences": [{"raw": "a dog"}]}]
    (photos / "dataset.json").write_text(json.dumps({"images": images}))
    file = feature_file(photos, np.ones((6, 3), np.float32))
    with pytest.raises(DataError) as caught:
        list(events_of(photos / "dataset.json", photos.parent / "out.h5", features=file, encoder=None))
    assert str(caught.value) == f"{file}: expected a row for each image, got 6 rows, none of them of an image"


def test_features_of_the_declared_encoder_are_accepted(photos: Path) -> None:
    corpus, _ = made(photos, features=feature_file(photos.parent, EXPECTED.astype(np.float16)))
    assert corpus.encoder == ENCODER
    np.testing.assert_allclose(features_by_name(corpus)["003.png"], EXPECTED[3], atol=1e-2)


def test_features_of_another_encoder_are_rejected(photos: Path) -> None:
    file = feature_file(photos.parent, EXPECTED[::-1])
    message = refusal(photos, features=file)
    pattern = rf"{file}: expected the features of {ENCODER}, got a relative error of [\d.]+% for 00\d.png; name .*"
    assert re.fullmatch(pattern, message)
    file = feature_file(photos.parent, EXPECTED[:, :-1])
    assert refusal(photos, features=file) == (
        f"{file}: expected {FEATURES} features per image for {ENCODER}, got {FEATURES - 1}"
    )


def test_encoder_options_without_an_encoder_are_rejected(photos: Path) -> None:
    file = feature_file(photos.parent, EXPECTED)
    message = refusal(photos, UsageError, features=file, encoder=None, encoder_options={"size": "8"})
    assert message == f"{file}: --encoder-option needs an encoder; name that of the features with --encoder"


def test_without_photographs_the_encoder_is_not_verified(photos: Path) -> None:
    corpus, _ = made(photos, features=feature_file(photos.parent, EXPECTED[::-1]), images=photos.parent)
    assert corpus.encoder == ENCODER


def test_unusable_features_are_rejected(photos: Path) -> None:
    out = photos.parent / "out.h5"
    file = feature_file(photos.parent, np.full((COUNT, 3), 1e6, np.float32))
    assert refusal(photos, features=file, encoder=None, dtype="float16") == (
        "features: expected values in the range of float16, got 1e+06; try float32"
    )
    file = feature_file(photos.parent, np.full((COUNT, 3), np.nan, np.float32))
    assert refusal(photos, features=file, encoder=None) == (
        f"{out}: train features: row 0: a number is not finite (NaN or infinity)"
    )
    file.write_bytes(b"text")
    assert refusal(photos, features=file, encoder=None) == (f"{file}: expected an HDF5 file, got a text file")
