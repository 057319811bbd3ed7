"""Photographs for tests: small images of all formats, and the error of one that cannot be decoded."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioner.errors import DataError
from captioner.photos.photo import decode_photo

RED, GREEN, BLUE, WHITE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (128, 128, 128)
CORNERS = (RED, GREEN, BLUE, GREY)
"""Upper left, upper right, lower left, lower right."""
NEW = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}, "AVIF": {"quality": 95}}


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **{**NEW.get(kind, {}), **options})
    return buffer.getvalue()


def corners(width: int = 48, height: int = 32) -> Image.Image:
    """An image of four rectangles, wider than high."""
    image = Image.new("RGB", (width, height), GREY)
    for x, y, colour in ((0, 0, RED), (1, 0, GREEN), (0, 1, BLUE)):
        image.paste(colour, (x * width // 2, y * height // 2, (x + 1) * width // 2, (y + 1) * height // 2))
    return image


def quarters(photo: Image.Image) -> list[tuple[int, ...]]:
    """The colours of the four quarters."""
    assert photo.mode == "RGB"
    pixels = np.asarray(photo)
    height, width, _ = pixels.shape
    return [tuple(pixels[height * y // 4, width * x // 4].tolist()) for y in (1, 3) for x in (1, 3)]


def alike(got: Any, expected: Any) -> bool:
    return bool(np.abs(np.subtract(got, expected)).max() <= 12)


def error_of(content: bytes) -> str:
    with pytest.raises(DataError) as caught:
        decode_photo(content, "a.jpg", 8)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith("a.jpg: ")
    return message.removeprefix("a.jpg: ")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", head, *more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")],
    )


def tiff(bits: int, pixels: bytes, size: int) -> bytes:
    """A greyscale TIFF without compression, `size` pixels wide and high."""
    entries = [(256, 3, size), (257, 3, size), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, 122), (277, 3, 1)]
    entries += [(278, 3, size), (279, 4, len(pixels))]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    return b"".join(
        [head, *(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries), bytes(4), pixels]
    )


def bomb(kind: str, side: int) -> bytes:
    """A small file that declares side x side pixels."""
    if kind == "PNG":
        return png(side, side, 8, 2, b"")
    if kind == "PPM":
        return b"P6 %d %d 255\n" % (side, side)
    if kind == "TIFF":
        return tiff(8, bytes(9), 3).replace(
            struct.pack("<HI", 3, 1) + struct.pack("<I", 3), struct.pack("<HII", 3, 1, side)
        )
    content = bytearray(encoded(Image.new("RGB", (8, 8)), kind))
    if kind == "GIF":
        content[6:10] = struct.pack("<HH", side, side)
    elif kind == "BMP":
        content[18:26] = struct.pack("<ii", side, side)
    elif kind == "WEBP":
        content[21:25] = struct.pack("<I", (min(side, 1 << 14) - 1) * (1 + (1 << 14)))
    elif kind == "AVIF":
        place = content.index(b"ispe") + 8
        content[place : place + 8] = struct.pack(">II", 16000, 16000)
    else:
        place = content.index(b"\xff\xc0") + 5
        content[place : place + 4] = struct.pack(">HH", side, side)
    return bytes(content)
