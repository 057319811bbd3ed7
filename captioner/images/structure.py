"""Photographs as files, without Pillow: suffixes, and the cost of decoding by JPEG scans, TIFF tiles and AV1 streams.

Small files can declare millions of segments or tags, which Pillow parses in Python, or tiles and streams that are much
larger than the image. They are counted here without decoding.

Source: ITU-T T.81, Annex B (JPEG); TIFF 6.0, section 2; Adobe, BigTIFF; ISO/IEC 14496-12 and 23008-12 (boxes); AV1
Bitstream Specification, section 5.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Container, Iterator
from typing import NamedTuple

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
MAX_BOXES = 20_000
PART_PIXELS = 1 << 24
"""Pixels of a tile or stream that may be larger than the image."""
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
STRIP_OFFSETS, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS = 273, 322, 323, 324
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


class Structure(NamedTuple):
    """The scans of a JPEG, the pixels of the largest tile or stream, and the size of a stream that is not declared."""

    scans: int = 1
    largest: int = 0
    undeclared: tuple[int, int] | None = None

    def check_size(self, width: int, height: int) -> None:
        """Raises: TooManyPartsError if a tile or stream has another size, or is much larger than the image."""
        if self.undeclared:
            wide, high = self.undeclared
            raise TooManyPartsError(f"expected image data of the declared size, got {wide:,} x {high:,} pixels")
        if self.largest > max(PART_PIXELS, (width + 15) * (height + 15)):
            size = f"{width:,} x {height:,}"
            raise TooManyPartsError(f"expected parts no larger than the image, {size}, got {self.largest:,} pixels")


def check_structure(content: bytes) -> Structure:
    """Check the structure of a JPEG, TIFF or AVIF, without decoding; other formats have one part.

    Raises: TooManyPartsError, without the name of the photograph.
    """
    if content.startswith(b"\xff\xd8"):
        return Structure(scans=_check_jpeg(content))
    try:
        if content.startswith((b"II", b"MM")):
            return Structure(largest=_largest_tile(content))
        if content[4:8] == b"ftyp":
            return _check_streams(content)
    except struct.error:  # truncated, which the decoder reports
        pass
    return Structure()


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


def _largest_tile(content: bytes) -> int:
    order, big = "<" if content[:2] == b"II" else ">", content[2:4] in (b"+\0", b"\0+")
    head, count, entry = ("8xQ", "Q", "HHQ8s") if big else ("4xL", "H", "HHL4s")
    (at,) = struct.unpack_from(order + head, content)
    (tags,) = struct.unpack_from(order + count, content, at)
    start, size = at + struct.calcsize(order + count), struct.calcsize(order + entry)
    if tags > MAX_TAGS:
        raise TooManyPartsError(f"expected a TIFF with at most {MAX_TAGS:,} tags, got {tags:,}")
    sides = {TILE_WIDTH: 0, TILE_HEIGHT: 0}
    for place in range(start, start + tags * size, size):
        tag, kind, number, value = struct.unpack_from(order + entry, content, place)
        if tag in (STRIP_OFFSETS, TILE_OFFSETS) and number > MAX_TILES:
            raise TooManyPartsError(f"expected a TIFF with at most {MAX_TILES:,} strips or tiles, got {number:,}")
        if tag in sides:
            if kind not in _INTEGERS or number != 1:
                raise TooManyPartsError("expected a TIFF whose tile size is two whole numbers")
            sides[tag] = max(sides[tag], *struct.unpack_from(order + _INTEGERS[kind], value))
    return sides[TILE_WIDTH] * sides[TILE_HEIGHT]


def _boxes(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, start and end of the content of each box, also of those inside others."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">L4s", content, start)
        head = 16 if size == 1 else 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", content, start + 8)
        inner, after = start + head, min(start + (size or end - start), end)
        if after < inner:
            return
        yield kind, inner, after
        if kind in _CONTAINERS:
            yield from _boxes(content, inner + _CONTAINERS[kind], after)
        start = after


_CONTAINERS = {
    b"meta": 4, b"iprp": 0, b"ipco": 0, b"iinf": 6, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0,
    b"stsd": 8,
}  # fmt: skip
"""Boxes that contain others, with the bytes before them."""


def _check_streams(content: bytes) -> Structure:
    """Compare the sizes of the AV1 streams of an AVIF with the declared ones."""
    declared: set[tuple[int, ...]] = set()
    items: set[int] = set()
    locations: list[int] = []
    offsets: list[int] = []
    sizes: list[int] = []
    data = 0
    for number, (kind, start, _) in enumerate(_boxes(content, 0, len(content))):
        _check_parts(number)
        match kind:
            case b"ispe":
                declared.add(struct.unpack_from(">4xLL", content, start))
            case b"av01":
                declared.add(struct.unpack_from(">24xHH", content, start))
            case b"infe":
                identity, item = struct.unpack_from(">4xL2x4s" if content[start] > 2 else ">4xH2x4s", content, start)
                if item == b"av01":
                    items.add(identity)
            case b"iloc":
                locations.append(start)
            case b"idat":
                data = start
            case b"stco" | b"co64":  # of the first frames of a track
                offsets += struct.unpack_from(">8xL" if kind == b"stco" else ">8xQ", content, start)
            case b"stsz":
                (size,) = struct.unpack_from(">4xL", content, start)
                sizes += (size,) if size else struct.unpack_from(">12xL", content, start)
    streams = [content[start : start + size] for start, size in zip(offsets, sizes, strict=False)]
    streams += (stream for start in locations for stream in _items(content, start, data, items))
    sequences = [sequence for stream in streams for sequence in _sequences(stream)]
    undeclared = next((size for size, _ in sequences if size not in declared), None)
    return Structure(1, max((most for _, most in sequences), default=0), undeclared)


def _check_parts(number: int) -> None:
    if number > MAX_BOXES:
        raise TooManyPartsError(f"expected a photograph with at most {MAX_BOXES:,} boxes, got more")


def _items(content: bytes, at: int, data: int, items: Container[int]) -> Iterator[bytes]:
    """Yield the content of those items that a box `iloc` locates; `data` is the start of the box `idat`."""

    def take(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(content[at - size : at], "big")

    version, _, sizes, bases = take(1), take(3), take(1), take(1)
    extents, left = 0, len(content)
    for _ in range(take(2 if version < 2 else 4)):
        if at >= len(content):
            return
        identity = take(2 if version < 2 else 4)
        inside = take(2) & 15 if version else 0
        take(2)
        base, parts = take(bases >> 4) + (data if inside == 1 else 0), []
        for _ in range(take(2)):
            extents += 1
            _check_parts(extents)
            take(bases & 15 if version else 0)
            start, length = base + take(sizes >> 4), take(sizes & 15) or len(content)
            if identity in items:
                parts.append(content[start : start + length])
                left -= len(parts[-1])
                if left < 0:
                    raise TooManyPartsError("expected a photograph whose parts do not overlap")
        yield b"".join(parts)


def _sequences(stream: bytes) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield the size of each sequence header of an AV1 stream, and the most pixels that its frames may have."""
    at, number = 0, 0
    while at < len(stream):
        number += 1
        _check_parts(number)
        head = stream[at]
        at += 2 if head & 4 else 1
        size, shift = 0, 0
        while head & 2 and at < len(stream) and shift < 56:
            byte = stream[at]
            size, shift, at = size | (byte & 127) << shift, shift + 7, at + 1
            if byte < 128:
                break
        if not head & 2:
            size = len(stream) - at
        if head >> 3 & 15 == 1:
            yield _sequence_size(stream[at : at + size])
        at += size


def _sequence_size(header: bytes) -> tuple[tuple[int, int], int]:
    bits, at = int.from_bytes(header[:512].ljust(512, b"\0"), "big"), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return bits >> (4096 - at) & ((1 << count) - 1)

    take(4)
    reduced = take(1)
    if reduced:
        take(5)
    else:
        model, length = 0, 0
        if take(1):  # timing
            take(64)
            if take(1):
                zeros = next((k for k in range(32) if take(1)), 32)
                take(zeros)
            model = take(1)
            if model:
                length = take(5) + 1
                take(42)
        delay = take(1)
        for _ in range(take(5) + 1):  # operating points
            take(12)
            if take(5) > 7:
                take(1)
            if model and take(1):
                take(2 * length + 1)
            if delay and take(1):
                take(4)
    width_bits, height_bits = take(4) + 1, take(4) + 1
    width, height = take(width_bits) + 1, take(height_bits) + 1
    # a frame may have another size of as many bits; encoders use as few bits as possible
    is_fixed = reduced or (width_bits <= width.bit_length() and height_bits <= height.bit_length())
    return (width, height), width * height if is_fixed else 1 << width_bits + height_bits
