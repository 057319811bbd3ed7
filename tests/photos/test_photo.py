"""Photographs of all supported formats decode to upright RGB; HEIC needs a library."""

import io
import struct
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photographs import (
    BLUE,
    CORNERS,
    GREEN,
    GREY,
    RED,
    WHITE,
    alike,
    corners,
    encoded,
    error_of,
    png,
    quarters,
)
from PIL import ExifTags, Image

from captioner.errors import install_command
from captioner.photos import photo
from captioner.photos.photo import (
    FORMATS,
    HEIC_SUFFIXES,
    PIXELS,
    can_read_heic,
    decode_photo,
    decode_picture,
    list_photos,
    square,
)

HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
installed = pytest.mark.skipif(not can_read_heic(), reason="needs pillow-heif")


def heic(image: Image.Image, **options: Any) -> bytes:
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False, decode_threads=1)
    return encoded(image, "HEIF", quality=95, **options)


@installed
@pytest.mark.parametrize("side", [9460, 20000, 60000])
def test_a_decompression_bomb_in_heic_is_rejected(side: int) -> None:
    content = bytearray(heic(corners(96, 64)))
    place = content.index(b"ispe") + 8
    content[place : place + 8] = side.to_bytes(4, "big") * 2
    assert error_of(bytes(content)) in (
        f"expected at most {PIXELS:,} pixels; make the photograph smaller",
        "damaged or truncated: cannot be read as HEIC; try a new copy",
    )


@installed
def test_no_more_pixels_are_decoded_than_the_header_declares() -> None:
    content = bytearray(heic(Image.new("RGB", (1024, 1024), "red")))
    place = content.index(b"ispe") + 8
    content[place : place + 8] = (64).to_bytes(4, "big") * 2
    assert error_of(bytes(content)).startswith("damaged or truncated: ")
    assert error_of(HEAD) == "damaged or truncated: cannot be read as HEIC; try a new copy"


@installed
def test_photographs_in_a_folder_are_listed_and_captioned(
    cli: Callable[..., Any], photo_run: Path, album: Callable[..., Path], tmp_path: Path
) -> None:
    folder = album(tmp_path / "new", 2, first=70).parent
    for name in ("070", "071"):
        with Image.open(folder / f"{name}.png") as picture:
            (folder / f"{name}.HEIC").write_bytes(heic(picture))
        (folder / f"{name}.png").unlink()
    assert list_photos(folder, pytest.fail, HEIC_SUFFIXES) == [folder / "070.HEIC", folder / "071.HEIC"]
    done = cli("caption", folder, "--model", photo_run)
    assert (done.code, done.err) == (0, "")
    assert [line.split("\t")[0] for line in done.out.splitlines()] == [f"{folder}/070.HEIC", f"{folder}/071.HEIC"]


def test_without_pillow_heif_heic_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo, "can_read_heic", lambda: False)
    install = f"try {install_command()}, or convert it to JPEG"
    assert error_of(HEAD) == f"expected a photograph of another format, got HEIC; {install}"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", pytest.param("HEIF", marks=installed)])
@pytest.mark.parametrize(
    ("orientation", "order"),
    [(1, "RGBx"), (2, "GRxB"), (3, "xBGR"), (4, "BxRG"), (5, "RBGx"), (6, "BRxG"), (7, "xGBR"), (8, "GxRB")],
)
def test_the_exif_orientation_is_applied(kind: str, orientation: int, order: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = heic(corners(), exif=exif.tobytes()) if kind == "HEIF" else encoded(corners(), kind, exif=exif)
    pixels = decode_photo(content, "a", 100)
    expected = [dict(zip("RGBx", CORNERS, strict=True))[letter] for letter in order]
    assert alike(quarters(pixels), expected)
    assert pixels.size == ((48, 32) if orientation < 5 else (32, 48))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0", b"Exif\0\0no notes", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\1\7\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\1\3\0\1\0\0\0\x09\0\0\0\0\0\0\0",  # orientation 9
    ],
)  # fmt: skip
def test_damaged_exif_data_is_ignored(kind: str, exif: bytes) -> None:
    content = encoded(corners(), kind, exif=exif)
    with warnings.catch_warnings(record=True) as recorded:
        assert alike(quarters(decode_photo(content, "a", 100)), CORNERS)
    assert not recorded


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read(kind: str) -> None:
    assert alike(quarters(decode_photo(encoded(corners(), kind), "a", 100)), CORNERS)
    if kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert quarters(decode_photo(encoded(corners().quantize(8), kind), "a", 100)) == list(CORNERS), "with a palette"
    if kind == "JPEG":
        assert alike(quarters(decode_photo(encoded(corners(), kind, progressive=True), "a", 100)), CORNERS)


@pytest.mark.parametrize("transparency", [0, bytes([0, 255, 255])])
def test_a_transparent_entry_of_a_palette_is_white(transparency: int | bytes) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([*BLUE, *RED, *GREEN])
    image.paste(1, (2, 0, 4, 2))
    got = quarters(decode_photo(encoded(image, "PNG", transparency=transparency), "a", 100))
    assert got == [WHITE, RED, WHITE, WHITE]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", pytest.param("HEIF", marks=installed)])
def test_alpha_is_blended_with_white(kind: str) -> None:
    write = heic if kind == "HEIF" else partial(encoded, kind=kind)
    clear = corners().convert("RGBA")
    clear.putalpha(Image.new("L", clear.size, 128))
    expected = (128 * np.array(CORNERS) + 127 * 255) // 255
    assert alike(quarters(decode_photo(write(clear), "a", 100)), expected)
    grey = Image.new("LA", (4, 4), (0, 0))
    assert quarters(decode_photo(write(grey), "a", 100)) == [WHITE] * 4


def test_a_transparent_colour_without_alpha_is_white() -> None:
    assert quarters(decode_photo(encoded(corners(), "PNG", transparency=RED), "a", 100)) == [WHITE, GREEN, BLUE, GREY]
    assert quarters(decode_photo(encoded(Image.new("L", (4, 4), 7), "PNG", transparency=7), "a", 100)) == [WHITE] * 4


def test_other_colour_spaces_are_converted() -> None:
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for kind in ("JPEG", "TIFF"):
        assert alike(quarters(decode_photo(encoded(ink, kind), "a", 100)), [RED] * 4)
    assert alike(quarters(decode_photo(encoded(corners().convert("YCbCr"), "TIFF"), "a", 100)), CORNERS)
    assert alike(
        quarters(decode_photo(encoded(Image.new("LAB", (4, 4), (255, 128, 128)), "TIFF"), "a", 100)), [WHITE] * 4
    )


def test_16_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 1000, 32896, 65535]], np.uint16)
    for kind in ("PNG", "TIFF", "PPM"):
        pixels = np.asarray(decode_photo(encoded(Image.fromarray(values), kind), "a", 100))
        assert pixels.tolist() == [[[x] * 3 for x in (0, 3, 128, 255)]]
    big = values.astype(">u2").tobytes()
    assert np.asarray(decode_photo(b"P5 4 1 65535 " + big, "a", 100))[0, :, 0].tolist() == [0, 3, 128, 255]
    deep = png(2, 1, 16, 2, b"\0" + struct.pack(">6H", 0, 32896, 65535, 65535, 0, 257))
    assert np.asarray(decode_photo(deep, "a", 100)).tolist() == [[[0, 128, 255], [255, 0, 1]]]


def test_one_bit_and_grey_images_are_read() -> None:
    for mode in ("1", "L"):
        for kind in ("PNG", "TIFF", "BMP", "PPM", "GIF", "JPEG"):
            image = Image.new("L", (16, 16), 0)
            image.paste(255, (8, 0, 16, 16))
            got = quarters(decode_photo(encoded(image.convert(mode), kind), "a", 100))
            assert alike(got, [(0, 0, 0), WHITE] * 2)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO", pytest.param("HEIF", marks=installed)])
def test_the_first_frame_is_used(kind: str) -> None:
    write = heic if kind == "HEIF" else partial(encoded, kind=kind)
    content = write(corners(), save_all=True, append_images=[Image.new("RGB", (48, 32), WHITE)])
    with Image.open(io.BytesIO(content)) as image:
        assert getattr(image, "n_frames", 1) == 2
    assert alike(quarters(decode_photo(content, "a", 100)), CORNERS)


@pytest.mark.parametrize("size", [(400, 300), (399, 1000), (47, 2000), (2, 2)])
@pytest.mark.parametrize("min_side", [1, 8, 30, 300])
def test_a_reduced_jpeg_has_at_least_twice_the_minimum_side(size: tuple[int, int], min_side: int) -> None:
    content = encoded(Image.new("RGB", size), "JPEG")
    got = decode_photo(content, "a", min_side).size
    assert got == size or min(got) >= 2 * min_side
    assert abs(got[0] / size[0] - got[1] / size[1]) < 1 / min(size)
    if size == (400, 300) and min_side == 8:
        assert got == (50, 38)


def test_a_reduced_jpeg_equals_a_scaled_one() -> None:
    content = encoded(corners(480, 320), "JPEG")
    assert decode_photo(content, "a", 20).size == (60, 40)
    assert alike(quarters(decode_photo(content, "a", 20)), CORNERS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_extreme_aspect_ratio_is_cropped_to_a_square(kind: str) -> None:
    for size in ((1, 60000), (60000, 1)):
        pixels = decode_photo(encoded(Image.new("L", size, 128), kind), "a", 16)
        assert pixels.size == size
        assert np.asarray(square(pixels, 16)).tolist() == np.full((16, 16, 3), 128).tolist()


def test_the_centre_is_cropped() -> None:
    image = Image.new("RGB", (30, 10), RED)
    image.paste(GREEN, (10, 0, 20, 10))
    assert np.asarray(square(image, 10)).tolist() == np.full((10, 10, 3), GREEN).tolist()
    assert square(corners(16, 16), 16).tobytes() == corners(16, 16).tobytes()
    assert square(corners(7, 300), 16).size == (16, 16)


def test_the_digest_of_a_picture_is_that_of_what_one_sees() -> None:
    """Not of metadata, the palette's order, or the format."""
    image = corners().quantize(8)
    other = image.copy()
    other.putpalette([255 - part for part in image.getpalette() or []])
    digest = decode_picture(encoded(image, "PNG"), "a", 8)[1]
    assert digest != decode_picture(encoded(other, "PNG"), "a", 8)[1]
    assert digest == decode_picture(encoded(image.convert("RGB"), "PNG"), "a", 100)[1]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    assert digest == decode_picture(encoded(image, "PNG", exif=exif), "a", 300)[1]
    assert len(digest) == 16
