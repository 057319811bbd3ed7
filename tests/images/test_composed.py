"""Composite encoders: the mean over mirror images, and concatenated features."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import model as onnx_model
from PIL import Image, ImageOps
from thread_safety import check_thread_safety

from captioner.images import encoder as encoder_module
from captioner.images import open_encoder
from captioner.images.encoder import Encoder, encode_photos
from captioner.images.photo import square

RNG = np.random.default_rng(0)
PHOTOS = [Image.fromarray(pixels) for pixels in RNG.integers(0, 256, (3, 9, 12, 3), np.uint8)]


@pytest.fixture
def channels(tmp_path: Path) -> str:
    """A model that returns the mean of each channel, of 4 x 4 pixels."""
    (tmp_path / "a+b.onnx").write_bytes(onnx_model())
    return f"onnx:{tmp_path / 'a+b.onnx'}"


def encoded(encoder: Encoder, photos: list[Image.Image] = PHOTOS) -> tuple[Any, Any]:
    features, regions = encoder.encode_with_regions([encoder.prepare(photo) for photo in photos])
    np.testing.assert_array_equal(encoder.encode([encoder.prepare(photo) for photo in photos]), features)
    assert (features.shape, features.dtype) == ((len(photos), encoder.width), np.float32)
    if encoder.regions is None:
        assert regions is None
    else:
        rows, columns, width = encoder.regions
        assert regions.shape == (len(photos), rows * columns, width)
    return features, regions


@pytest.mark.parametrize("name", ["scenes", "efficientnet-lite0", "efficientnet-lite2:size=64"])
def test_mirror_is_the_mean_of_an_image_and_its_mirror_image(name: str) -> None:
    encoder = open_encoder(name)
    features, regions = encoded(encoder)
    turned, _ = encoded(encoder, [ImageOps.mirror(square(photo, encoder.side)) for photo in PHOTOS])
    assert np.abs(features - turned).max() > 0.01
    mirror = open_encoder(f"{name}:mirror")
    mean, unmirrored = encoded(mirror)
    np.testing.assert_allclose(mean, (features + turned) / 2, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(unmirrored, regions)
    assert (mirror.identity, mirror.width, mirror.side) == (f"{encoder.identity}:mirror", encoder.width, encoder.side)


def test_features_are_concatenated_in_the_order_of_the_recipe(channels: str) -> None:
    parts = [f"{channels}:size=4:mirror", "efficientnet-lite2:size=64", "scenes", "efficientnet-lite0:size=32"]
    for order in (parts, parts[::-1]):
        encoders = [open_encoder(part) for part in order]
        recipe = open_encoder("+".join(order))
        features, _ = encoded(recipe)
        np.testing.assert_array_equal(features, np.concatenate([encoded(one)[0] for one in encoders], axis=1))
        assert recipe.identity == "+".join(one.identity for one in encoders)
        assert (recipe.width, recipe.side) == (3 + 1280 + 231 + 1280, 64)


def test_the_regions_are_those_of_the_first_part_that_has_any(channels: str) -> None:
    recipe = open_encoder(f"{channels}+efficientnet-lite0:size=64:mirror+scenes")
    assert recipe.regions == (2, 2, 320)
    np.testing.assert_array_equal(encoded(recipe)[1], encoded(open_encoder("efficientnet-lite0:size=64"))[1])
    assert encoded(open_encoder(f"{channels}+{channels}:mirror"))[1] is None


def test_a_photograph_is_decoded_once_for_all_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, original = [], encoder_module.decoded
    monkeypatch.setattr(encoder_module, "decoded", lambda *args: calls.append(args[2]) or original(*args))
    PHOTOS[0].save(tmp_path / "a.png")
    recipe = open_encoder("scenes+scenes:mirror+efficientnet-lite0:size=32")
    (one,) = encode_photos(recipe, [tmp_path / "a.png"])
    np.testing.assert_array_equal(one.features, encoded(recipe)[0][0])
    assert calls == [64]


def test_a_recipe_is_thread_safe() -> None:
    recipe = open_encoder("efficientnet-lite0:size=32:mirror+scenes")
    check_thread_safety(lambda: encoded(recipe), calls=10)
