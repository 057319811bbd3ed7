"""Photographs in too many parts, with contradictory sizes or that Pillow decodes in Python, are refused early."""

import functools
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from photographs import chunk, corners, decode, encoded, error_of, png, tiff
from PIL import Image

from captioner.images import photo, structure
from captioner.images.structure import MAX_PARTS, MAX_SEGMENTS, MAX_TABLES, StructureError, check_structure
from faults.constructed import avif, box, sequence, with_size


def segments(code: int, count: int, content: bytes = b"") -> bytes:
    """A JPEG with additional segments before its tables."""
    whole = encoded(corners(), "JPEG")
    return whole[:2] + (struct.pack(">BBH", 0xFF, code, 2 + len(content)) + content) * count + whole[2:]


def tiled(tile: int, side: int = 64, kind: int = 4, count: int = 1) -> bytes:
    """A compressed TIFF in tiles."""
    data = zlib.compress(bytes(64))
    entries = [(256, 3, 1, side), (257, 3, 1, side), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    entries += [(322, kind, count, tile), (323, kind, count, tile), (324, 4, 1, 134), (325, 4, 1, len(data))]
    lines = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<LH", 8, len(entries)) + lines + bytes(4) + data


SAVE = "; save it again"
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "JPEG segments": (lambda: segments(0xFE, MAX_SEGMENTS), "expected a JPEG with at most 5,000 segments, got more"),
    "Exif segments": (
        lambda: segments(0xE1, MAX_TABLES, b"Exif\0\0"),
        "expected a JPEG with at most 100 tables, got more",
    ),
    "frame headers": (lambda: segments(0xC0, MAX_TABLES), "expected a JPEG with at most 100 tables, got more"),
    "fill bytes": (
        lambda: encoded(corners(), "JPEG")[:-2] + b"\xff" * 5000,
        "expected a JPEG with fewer than 4,096 fill bytes in a row, got more",
    ),
    "bytes between segments": (
        lambda: encoded(corners(), "JPEG")[:2] + b"\xff\xd8" * 30_000 + encoded(corners(), "JPEG")[2:],
        "expected a photograph with less metadata, or in fewer parts",
    ),
    "PNG chunks": (
        lambda: encoded(corners())[:33] + chunk(b"tEXt", b"a\0b") * 10_000 + encoded(corners())[33:],
        "expected a photograph with less metadata, or in fewer parts",
    ),
    "PNG profiles": (
        lambda: encoded(corners()) + (chunk(b"iCCP", b"") + chunk(b"zTXt", b"")) * 2049,
        "expected a PNG with at most 4,096 compressed texts and profiles, got more",
    ),
    "GIF comments": (
        lambda: encoded(corners(), "GIF").replace(b",", b"!\xfe" + b"\1a" * 30_000 + b"\0,", 1),
        "expected a photograph with less metadata, or in fewer parts",
    ),
    "PPM comments": (
        lambda: b"P6 #" + b"a" * 30_000 + b"\n1 1 255\n   ",
        "expected a photograph with less metadata, or in fewer parts",
    ),
    "TIFF tiles": (
        lambda: tiled(46_000),
        "expected tiles no larger than 64 x 64, got 46,000 x 46,000",
    ),
    "TIFF tile sizes of 64 bits": (
        lambda: tiled(64, kind=16),
        "expected a TIFF whose tile size is two whole numbers",
    ),
    "TIFF tile sizes": (lambda: tiled(64, kind=9), "expected a TIFF whose tile size is two whole numbers"),
    "TIFF offsets": (
        lambda: tiff(8, bytes(9), 3).replace(struct.pack("<HHL", 273, 4, 1), struct.pack("<HHL", 273, 4, 1 << 20)),
        "expected a TIFF with at most 400,000 strips or tiles, got 1,048,576",
    ),
    "AVIF boxes": (
        lambda: avif([]) + box(b"free") * MAX_PARTS,
        "expected a photograph with at most 20,000 parts, got more",
    ),
    "AVIF items": (
        lambda: avif([], no_extents=MAX_PARTS),
        "expected a photograph with at most 20,000 parts, got more",
    ),
    "AVIF extents": (
        lambda: avif([bytes(MAX_PARTS)], extents=MAX_PARTS),
        "expected a photograph with at most 20,000 parts, got more",
    ),
    "AVIF units of all streams together": (
        lambda: avif([b"\x7a\0" * (MAX_PARTS // 2), b"\x7a\0" * (MAX_PARTS // 2 + 1)]),
        "expected a photograph with at most 20,000 parts, got more",
    ),
    "TIFF strips": (
        lambda: tiff(8, struct.pack("<L", 70_000) * 17_500, 3).replace(
            struct.pack("<HHLL", 279, 4, 1, 70_000), struct.pack("<HHLL", 279, 4, 1000, 122)
        ),
        "expected a TIFF whose strips or tiles do not overlap",
    ),
    "TIFF tags": (
        lambda: b"MM\0*" + struct.pack(">LH", 8, 5000) + bytes(60_000),
        "expected a TIFF with at most 4,096 tags, got 5,000",
    ),
    "BigTIFF tags": (
        lambda: b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 5000) + bytes(100_000),
        "expected a TIFF with at most 4,096 tags, got 5,000",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_photograph_in_too_many_parts_is_refused(name: str) -> None:
    make, message = REFUSED[name]
    assert error_of(make()) == message + SAVE


@pytest.mark.parametrize(
    ("header", "data"),
    [(b"P6 4000 2000 254\n", bytes(99)), (b"P3 4000 2000 255\n", b"1 " * 99), (b"P2 70000 2 255\n", b"1 " * 99)],
)
def test_large_images_that_pillow_decodes_in_python_are_refused(header: bytes, data: bytes) -> None:
    assert error_of(header + data) == "expected at most 4,194,304 pixels in this variant of PPM; save it as PNG"


def test_very_high_images_are_refused() -> None:
    problem = "expected at most 1,048,576 rows of pixels, got 2,000,000"
    assert error_of(png(1, 2_000_000, 8, 6, bytes(99))) == problem


def test_usual_photographs_are_far_below_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1000, 2000, 3), np.uint8))
    # A GIF of grey values needs no search for 256 colours, and this AVIF is encoded in a tenth of the time.
    photos = [encoded(noise.convert("L"), "GIF"), encoded(noise, "AVIF", speed=10)]
    photos += [encoded(noise, kind) for kind in ("JPEG", "PNG", "TIFF", "WEBP")]
    for limit, value in (("MAX_SEGMENTS", 20), ("MAX_TABLES", 20), ("MAX_TAGS", 40), ("MAX_PARTS", 100)):
        monkeypatch.setattr(structure, limit, value)
    monkeypatch.setattr(photo, "MAX_READS", 400)
    monkeypatch.setattr(photo, "LOADING_READS", 4000)
    for content in photos:
        assert check_structure(content).scans == 1
        assert decode(content, "a", 100).size[0] >= 200


def test_metadata_may_contain_fill_bytes() -> None:
    content = segments(0xFE, 1, b"\xff" * 5000)
    assert decode(content, "a", 100).size == (48, 32)
    with pytest.raises(StructureError, match="fewer than 4,096 fill bytes"):
        check_structure(content.replace(b"\xff\xfe", b"\xff" * 5000 + b"\xfe"))


def test_a_tile_may_be_larger_than_a_small_image() -> None:
    check_structure(tiled(512)).check_size(64, 64, streams=False)


def test_16_bits_with_white_as_zero_are_inverted() -> None:
    values = np.array([[0, 1000], [32896, 65535]], np.uint16)
    inverted = tiff(16, values.tobytes(), 2).replace(
        struct.pack("<HHII", 262, 3, 1, 1), struct.pack("<HHII", 262, 3, 1, 0)
    )
    assert np.asarray(decode(inverted, "a", 100))[..., 0].tolist() == [[255, 251], [127, 0]]


@pytest.mark.parametrize("animated", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_avif_must_declare_the_size_of_its_image_data(mode: str, animated: bool) -> None:
    more = {"save_all": True, "append_images": [corners(1000, 800).convert(mode)]} if animated else {}
    whole = encoded(corners(1000, 800).convert(mode), "AVIF", speed=10, **more)
    assert decode(whole, "a", 8).size == (1000, 800)
    assert error_of(with_size(whole, 64, 64)) == "expected image data of 64 x 64 pixels, got 800,000" + SAVE
    frames = check_structure(whole).frames
    problem = f"expected image data of 3,000 x 3,000 pixels, got {frames * 800_000:,} in all frames" + SAVE
    assert error_of(with_size(whole, 3000, 3000)) == problem


FRAME = b"\x32\0"
STREAM = sequence(500) + FRAME
DISGUISED = {
    "none": avif([STREAM]),
    "a truncated box": avif([STREAM]) + b"\0\0\0\x08iloc",
    "a long list of items": avif([STREAM], version=1),
    "extents": avif([STREAM], extents=7),
    "boxes in other places": avif([STREAM]) + box(b"idat") + box(b"iloc", bytes(40)),
    "a second header": avif([sequence(64) + STREAM]),
    "a header in another item": avif([FRAME, sequence(500)]),
    "deep boxes": avif([STREAM]) + functools.reduce(lambda inner, _: box(b"moov", inner), range(3000), b""),
}


@pytest.mark.parametrize("disguise", DISGUISED)
def test_the_size_of_a_stream_cannot_be_disguised(disguise: str) -> None:
    assert check_structure(DISGUISED[disguise]) == structure.Structure(frames=1, largest=500 * 500)


def test_the_frames_of_an_avif_are_bounded_by_its_size() -> None:
    check_structure(avif([sequence(64) + FRAME] * 300)).check_size(1000, 1000, streams=True)  # equal tiles
    layers = sequence(1000) + FRAME * 8
    check_structure(avif([layers])).check_size(1000, 1000, streams=True)
    with pytest.raises(StructureError, match="got 10,000,000 in all frames"):
        check_structure(avif([layers, FRAME * 2])).check_size(1000, 1000, streams=True)
    with pytest.raises(StructureError, match="got 4,096 in all frames"):
        check_structure(avif([sequence(64) + FRAME])).check_size(100, 100, streams=True)


@pytest.mark.parametrize("tile", [(16, 1 << 20), (1 << 20, 16)])
def test_the_tiles_of_a_tiff_are_bounded_by_its_size(tile: tuple[int, int]) -> None:
    structure.Structure(tile=tile).check_size(*tile, streams=False)
    with pytest.raises(StructureError, match="expected tiles no larger than 300 x 300"):
        structure.Structure(tile=tile).check_size(300, 300, streams=False)


def test_avif_with_overlapping_parts_is_refused() -> None:
    whole = bytearray(encoded(corners(), "AVIF"))
    at = whole.index(b"iloc") + 8
    whole[at] = 0  # offsets and lengths without bytes: each extent is the whole file
    whole[at + 8 : at + 10] = (9000).to_bytes(2, "big")  # extents of the only item
    whole += bytes(9000)
    with pytest.raises(StructureError, match="parts do not overlap"):
        check_structure(bytes(whole))
