"""Photographs as files, without Pillow: suffixes, and the cost of decoding by JPEG segments and scans, and TIFF tags.

Small files can declare millions of segments or tags, which Pillow parses in Python, or tiles that are much larger than
the image. They are counted here without decoding.

Source: ITU-T T.81, Annex B (JPEG); TIFF 6.0, section 2; Adobe, BigTIFF.
"""

from __future__ import annotations

import io
import re
import struct
from collections import defaultdict

from captioner.errors import DataError

SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif",
    ".ppm", ".pgm", ".pnm",
))  # fmt: skip
HEIC_SUFFIXES = frozenset((".heic", ".heif", ".hif"))
_ORIGINALS = re.compile(
    r"\.(avifs|jxl|jp2|j2k|jp[fx]|apng|dng|cr[23w]|nef|nrw|arw|sr[2fw]|raf|orf|rw2|pef|raw|3fr|iiq|x3f|psd|xcf|tga"
    r"|ico|svg|eps|exr|hdr)"
)
"""Suffixes of other image formats, such as raw files."""

MAX_SCANS = 100
"""As in libtiff. Encoders write about 10 scans; each is one more pass over all pixels."""
MAX_SEGMENTS = 5000
"""Segments of a JPEG: one has at most 64 KiB, so these are 300 MB of metadata."""
MAX_TABLES = 100
"""Segments of a JPEG that Pillow parses, such as tables and EXIF data; encoders write about 10."""
MAX_TAGS = 4096
MAX_TILES = 400_000
"""Tiles or strips of a TIFF. An image with the maximum number of pixels has 350,000 tiles of 16 x 16 pixels."""
TILE_PIXELS = 1 << 24
"""Pixels of a TIFF tile that may be larger than the image."""
MAX_READS = 20_000
"""Reads of Pillow while it opens a photograph: it reads at least once per chunk, block, tag or character."""
END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA
_SEGMENT = re.compile(rb"\xff([\xc0-\xc7\xc9-\xcf\xda-\xef\xfe])", re.DOTALL)
"""A marker that begins a segment with a length, for Pillow, which reads up to the first scan."""
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])", re.DOTALL)
"""A marker that ends the image or begins a segment with a length, for libjpeg."""
_METADATA = frozenset((*range(0xE0, 0xF0), 0xFE))
_PARSED = (b"Exif\0\0", b"Photoshop 3.0\0")
_PADDING = b"\xff" * 4096
"""More fill bytes before a marker than any encoder writes; Pillow reads all of them again with each block."""
WIDTH, HEIGHT, STRIP_OFFSETS, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS = 256, 257, 273, 322, 323, 324
_INTEGERS = {3: "H", 4: "L", 16: "Q"}
"""Types of TIFF values that all readers accept for a size."""


def is_photo_suffix(suffix: str) -> bool:
    """Return whether files with this suffix may be photographs, in a supported format or not."""
    suffix = suffix.lower()
    return suffix in SUFFIXES | HEIC_SUFFIXES or _ORIGINALS.fullmatch(suffix) is not None


class CountedReader(io.BytesIO):
    """The content of a photograph, with a limit on the number of reads."""

    def __init__(self, content: bytes, reads: int = MAX_READS) -> None:
        super().__init__(content)
        self.reads = reads

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads -= 1
        if self.reads < 0:
            raise TooManyPartsError("expected a photograph with less metadata, or in fewer parts")
        return super().read(size)


class TooManyPartsError(DataError):
    """A photograph in too many parts, whose decoding would take very long."""


def check_structure(content: bytes) -> int:
    """Check the structure of a JPEG or TIFF, and return the number of scans; other formats have one scan.

    Raises: TooManyPartsError, without the name of the photograph.
    """
    if content.startswith(b"\xff\xd8"):
        return _check_jpeg(content)
    if content.startswith((b"II", b"MM")):
        _check_tiff(content)
    return 1


def _check_jpeg(content: bytes) -> int:
    segments, tables, scans, at = 0, 0, 0, 2
    while marker := (_MARKER if scans else _SEGMENT).search(content, at):
        code, at = marker[1][0], marker.end()
        if code == END_OF_IMAGE:
            break
        segments += 1
        scans += code == START_OF_SCAN
        tables += not scans and (code not in _METADATA or content.startswith(_PARSED, at + 2))
        for name, count, most in (("segments", segments, MAX_SEGMENTS), ("scans", scans, MAX_SCANS),
                                  ("tables", tables, MAX_TABLES)):  # fmt: skip
            if count > most:
                raise TooManyPartsError(f"expected a JPEG with at most {most:,} {name}, got more")
        at += max(2, int.from_bytes(content[at : at + 2], "big"))
    if content.find(_PADDING, 0, at if marker else len(content)) >= 0:
        raise TooManyPartsError(f"expected a JPEG with fewer than {len(_PADDING):,} fill bytes in a row, got more")
    return scans


def _check_tiff(content: bytes) -> None:
    order, big = "<" if content[:2] == b"II" else ">", content[2:4] in (b"+\0", b"\0+")
    head, count, entry = ("8xQ", "Q", "HHQ8s") if big else ("4xL", "H", "HHL4s")
    values: dict[int, list[int]] = defaultdict(list)
    try:
        (at,) = struct.unpack_from(order + head, content)
        (tags,) = struct.unpack_from(order + count, content, at)
        start, size = at + struct.calcsize(order + count), struct.calcsize(order + entry)
        if tags > MAX_TAGS:
            raise TooManyPartsError(f"expected a TIFF with at most {MAX_TAGS:,} tags, got {tags:,}")
        for place in range(start, start + tags * size, size):
            tag, kind, number, value = struct.unpack_from(order + entry, content, place)
            if tag in (STRIP_OFFSETS, TILE_OFFSETS) and number > MAX_TILES:
                raise TooManyPartsError(f"expected a TIFF with at most {MAX_TILES:,} strips or tiles, got {number:,}")
            if tag in (TILE_WIDTH, TILE_HEIGHT) and (kind not in _INTEGERS or number != 1):
                raise TooManyPartsError("expected a TIFF whose tile size is two whole numbers")
            if tag in (WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT) and kind in _INTEGERS:
                values[tag] += struct.unpack_from(order + _INTEGERS[kind], value)
    except struct.error:
        return  # Pillow reports truncated files
    width, height = (min(values[tag], default=0) for tag in (WIDTH, HEIGHT))
    tile = max(values[TILE_WIDTH], default=0) * max(values[TILE_HEIGHT], default=0)
    if tile > max(TILE_PIXELS, (width + 15) * (height + 15)):
        raise TooManyPartsError(
            f"expected TIFF tiles no larger than the image, {width:,} x {height:,}, got {tile:,} pixels"
        )
