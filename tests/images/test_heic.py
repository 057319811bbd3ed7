"""HEIC photographs are read like other formats if pillow-heif is installed, and named otherwise."""

import io
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from captioner.errors import DataError
from captioner.extras import install_command
from captioner.images import photo as photo_module
from captioner.images.photo import (
    HEIC_SUFFIXES,
    PIXELS,
    can_read_heic,
    decode,
    heic_problem,
    is_photo_suffix,
    list_photos,
)

HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
COLOURS = {"R": (255, 0, 0), "G": (0, 255, 0), "B": (0, 0, 255), "x": (128, 128, 128)}
installed = pytest.mark.skipif(not can_read_heic(), reason="needs pillow-heif")


def corners(width: int = 96, height: int = 64) -> Image.Image:
    """An image of four rectangles, wider than high."""
    image = Image.new("RGB", (width, height), COLOURS["x"])
    for letter, x, y in (("R", 0, 0), ("G", 1, 0), ("B", 0, 1)):
        image.paste(COLOURS[letter], (x * width // 2, y * height // 2, (x + 1) * width // 2, (y + 1) * height // 2))
    return image


def encoded(image: Image.Image, **options: Any) -> bytes:
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False, decode_threads=1)
    buffer = io.BytesIO()
    image.save(buffer, "HEIF", quality=95, **options)
    return buffer.getvalue()


def order(photo: Image.Image) -> str:
    """The letters of the colours of the four quarters."""
    pixels = np.asarray(photo)
    height, width, _ = pixels.shape
    letters = ""
    for y, x in ((1, 1), (1, 3), (3, 1), (3, 3)):
        colour = pixels[height * y // 4, width * x // 4].astype(int)
        letters += min(COLOURS, key=lambda letter: np.abs(colour - COLOURS[letter]).sum())
    return letters


@installed
@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(1, "RGBx"), (2, "GRxB"), (3, "xBGR"), (4, "BxRG"), (5, "RBGx"), (6, "BRxG"), (7, "xGBR"), (8, "GxRB")],
)
def test_a_photograph_is_upright(orientation: int, expected: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    photo = decode(encoded(corners(), exif=exif.tobytes()), "a.heic", 100)
    assert photo.mode == "RGB"
    assert order(photo) == expected
    assert photo.size == ((96, 64) if orientation < 5 else (64, 96))


@installed
def test_alpha_is_blended_with_white() -> None:
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    assert np.asarray(decode(encoded(clear), "a.heic", 100)).min() >= 250


@installed
def test_the_primary_image_of_several_is_used() -> None:
    content = encoded(corners(), save_all=True, append_images=[Image.new("RGB", (96, 64), "white")])
    assert order(decode(content, "a.heic", 100)) == "RGBx"


@installed
@pytest.mark.parametrize("side", [9460, 20000, 60000])
def test_a_decompression_bomb_is_rejected(side: int) -> None:
    content = bytearray(encoded(corners()))
    place = content.index(b"ispe") + 8
    content[place : place + 8] = side.to_bytes(4, "big") * 2
    with pytest.raises(DataError) as caught:
        decode(bytes(content), "a.heic", 8)
    assert str(caught.value) in (
        f"a.heic: expected at most {PIXELS:,} pixels; make the photograph smaller",
        f"a.heic: {heic_problem()}",
    )


@installed
def test_no_more_pixels_are_decoded_than_the_header_declares() -> None:
    content = bytearray(encoded(Image.new("RGB", (1024, 1024), "red")))
    place = content.index(b"ispe") + 8
    content[place : place + 8] = (64).to_bytes(4, "big") * 2
    with pytest.raises(DataError, match=r"^a\.heic: damaged or truncated: "):
        decode(bytes(content), "a.heic", 8)


@installed
def test_a_damaged_file_gives_an_image_or_a_one_line_error() -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8))
    content, rng = encoded(noise), np.random.default_rng(zlib.crc32(b"heic"))
    outcomes = {"read": 0, "rejected": 0}
    for turn in range(300):
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            near = len(content) if turn % 2 else min(len(content), 500)
            damaged[rng.integers(near)] = rng.integers(256)
        if turn % 4 == 0:
            del damaged[rng.integers(len(content)) :]
        try:
            assert decode(bytes(damaged), "a.heic", 8).mode == "RGB"
            outcomes["read"] += 1
        except DataError as problem:
            outcomes["rejected"] += str(problem).isprintable()
    assert sum(outcomes.values()) == 300
    assert min(outcomes.values()) > 0


@installed
def test_photographs_in_a_folder_are_listed_and_captioned(
    cli: Callable[..., Any], photo_run: Path, album: Callable[..., Path], tmp_path: Path
) -> None:
    folder = album(tmp_path / "new", 2, first=70).parent
    for name in ("070", "071"):
        with Image.open(folder / f"{name}.png") as picture:
            (folder / f"{name}.HEIC").write_bytes(encoded(picture))
        (folder / f"{name}.png").unlink()
    assert list_photos(folder, pytest.fail) == [folder / "070.HEIC", folder / "071.HEIC"]
    done = cli("sample", photo_run, folder)
    assert (done.code, done.err) == (0, "")
    assert [line.split("\t")[0] for line in done.out.splitlines()] == [f"{folder}/070.HEIC", f"{folder}/071.HEIC"]


def without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_module, "can_read_heic", lambda: False)


def test_without_pillow_heif_the_photograph_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch)
    with pytest.raises(DataError) as caught:
        decode(HEAD, "a.jpg", 8)
    install = f"try {install_command('heic')}, or convert it to JPEG"
    assert str(caught.value) == f"a.jpg: expected a photograph of another format, got HEIC; {install}"


def test_without_pillow_heif_a_folder_omits_heic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without(monkeypatch)
    for name in ("a.jpg", "b.heic"):
        (tmp_path / name).touch()
    assert list_photos(tmp_path, pytest.fail) == [tmp_path / "a.jpg"]
    assert list_photos(tmp_path, pytest.fail, HEIC_SUFFIXES) == [tmp_path / "b.heic"]


def test_a_library_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_module, "can_read_heic", lambda: True)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    photo_module._register_heif.cache_clear()
    with pytest.raises(DataError, match=r"^a\.jpg: needs pillow-heif, which cannot be imported \("):
        decode(HEAD, "a.jpg", 8)


def test_an_old_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_module, "can_read_heic", lambda: True)
    monkeypatch.setattr(photo_module, "_register_heif", lambda: "1.3.0")
    with pytest.raises(DataError) as caught:
        decode(HEAD, "a.jpg", 8)
    upgrade = install_command("heic", "--upgrade")
    assert str(caught.value) == (
        f"a.jpg: needs pillow-heif 1.4 or later, got 1.3.0; try {upgrade}, or convert it to JPEG"
    )


def test_sidecars_may_not_have_the_suffix_of_heic() -> None:
    assert all(map(is_photo_suffix, HEIC_SUFFIXES))
