"""Decoded photographs as data URIs."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from captioner.report.pictures import SMALL, image_to_data_uri


def opened(uri: str) -> Image.Image:
    head, _, content = uri.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_a_small_picture_keeps_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SMALL, 50, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(opened(image_to_data_uri(Image.fromarray(pixels), 960))), pixels)


@pytest.mark.parametrize(
    ("size", "is_square", "expected"),
    [
        ((400, 200), False, (400, 200)),
        ((4000, 2000), False, (960, 480)),
        ((400, 200), True, (200, 200)),
        ((4000, 2000), True, (960, 960)),
    ],
)
def test_large_pictures_are_scaled_down_and_cropped(
    size: tuple[int, int], is_square: bool, expected: tuple[int, int]
) -> None:
    image = Image.new("RGB", size, (200, 0, 0))
    shown = opened(image_to_data_uri(image, 960, is_square))
    assert (shown.size, shown.format) == (expected, "JPEG")
    assert image.size == size, "the photograph is unchanged"
