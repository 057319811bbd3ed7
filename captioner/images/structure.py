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
from collections.abc import Iterator
from typing import Any, NamedTuple

SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif",
    ".ppm", ".pgm", ".pnm",
))  # fmt: skip
HEIC_SUFFIXES = frozenset((".heic", ".heif", ".hif"))
RAW_SUFFIXES = frozenset((
    ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".srw", ".raf", ".orf", ".rw2", ".pef",
    ".raw", ".3fr", ".iiq", ".x3f",
))  # fmt: skip
CONVERTIBLE = {
    "raw files are not supported; convert them to JPEG, for example with darktable-cli a.nef a.jpg": RAW_SUFFIXES,
    "JPEG 2000 is not supported; convert it to PNG, for example with opj_decompress -i a.jp2 -o a.png": frozenset((
        ".jp2", ".j2k", ".jpf", ".jpx",
    )),
}  # fmt: skip
"""Suffixes of photographs that other programs can convert, by what to try."""
_IMAGE_SUFFIXES = SUFFIXES.union(
    HEIC_SUFFIXES, *CONVERTIBLE.values(),
    (".avifs", ".jxl", ".apng", ".psd", ".xcf", ".tga", ".ico", ".svg", ".eps", ".exr", ".hdr"),
)  # fmt: skip

MAX_SCANS = 100
"""As in libtiff. Encoders write about 10 scans; each is one more pass over all pixels."""
MAX_SEGMENTS = 5000
"""Segments of a JPEG: one has at most 64 KiB, so these are 300 MB of metadata."""
MAX_TABLES = 100
"""Segments of a JPEG that Pillow parses, such as tables and EXIF data; encoders write about 10."""
MAX_TAGS = 4096
MAX_TILES = 400_000
"""Tiles or strips of a TIFF. An image with the maximum number of pixels has 350,000 tiles of 16 x 16 pixels."""
MAX_PARTS = 20_000
"""Boxes, items, extents and AV1 units of an AVIF together."""
JOINED = 1 << 26
"""Bytes of all items of an AVIF or tiles of a TIFF, if the file is smaller: equal ones may be stored once."""
PART_PIXELS = 1 << 24
"""Pixels of a tile that may be larger than the image."""
AV1_PIXELS, MAX_FRAMES = 1 << 18, 8
"""Pixels of an AV1 stream that may be larger than the image, such as a tile, and frames with as many pixels as it: with
transparency, a gain map, thumbnails and layers, and the first frame of an animation."""
END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA
_SEGMENT = re.compile(rb"\xff([\xc0-\xc7\xc9-\xcf\xda-\xef\xfe])", re.DOTALL)
"""A marker that begins a segment with a length, for Pillow, which reads up to the first scan."""
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])", re.DOTALL)
"""A marker that ends the image or begins a segment with a length, for libjpeg."""
_METADATA = frozenset((*range(0xE0, 0xF0), 0xFE))
_PARSED = (b"Exif\0\0", b"Photoshop 3.0\0")
_PADDING = b"\xff" * 4096
"""More fill bytes before a marker than any encoder writes; Pillow reads all of them again with each block."""
STRIP_OFFSETS, STRIP_BYTES, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 273, 279, 322, 323, 324, 325
_INTEGERS = {3: "H", 4: "L", 16: "Q"}
"""Types of TIFF values that all readers accept for a size."""


def is_photo_suffix(suffix: str) -> bool:
    """Return whether files with this suffix may be photographs, in a supported format or not."""
    return suffix.lower() in _IMAGE_SUFFIXES


class CountedReader(io.BytesIO):
    """The content of a photograph, with a limit on the number of reads."""

    def __init__(self, content: bytes, reads: int) -> None:
        super().__init__(content)
        self.reads = reads

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads -= 1
        if self.reads < 0:
            raise StructureError("expected a photograph with less metadata, or in fewer parts")
        return super().read(size)


class StructureError(ValueError):
    """A photograph in too many parts, or with sizes that contradict each other."""


class Structure(NamedTuple):
    """The scans of a JPEG, the size of a TIFF's tiles, and the frames of an AVIF with the pixels of the largest."""

    scans: int = 1
    tile: tuple[int, int] = (0, 0)
    frames: int = 0
    largest: int = 0

    def check_size(self, width: int, height: int, streams: bool) -> None:
        """Raises: StructureError if tiles or AV1 streams, which an AVIF must have, do not fit the size of the image."""
        wide, high = self.tile
        tiles = wide and high and (width + -width % wide) * (height + -height % high)
        if wide * high > max(PART_PIXELS, (width + 15) * (height + 15)) or tiles > max(PART_PIXELS, 4 * width * height):
            raise StructureError(f"expected tiles no larger than {width:,} x {height:,}, got {wide:,} x {high:,}")
        if self.largest > max(AV1_PIXELS, (width + 63) * (height + 63)):
            raise StructureError(f"expected image data of {width:,} x {height:,} pixels, got {self.largest:,}")
        pixels = self.frames * self.largest
        if pixels > MAX_FRAMES * max(AV1_PIXELS, (width + 63) * (height + 63)) or (streams and pixels < width * height):
            raise StructureError(f"expected image data of {width:,} x {height:,} pixels, got {pixels:,} in all frames")


def check_structure(content: bytes) -> Structure:
    """Check the structure of a JPEG, TIFF or AVIF, without decoding; other formats have one part.

    Raises: StructureError, without the name of the photograph.
    """
    if content.startswith(b"\xff\xd8"):
        return Structure(scans=_check_jpeg(content))
    if content.startswith((b"II", b"MM")):
        return Structure(tile=_tile_size(content))
    if content[4:8] == b"ftyp":
        return _check_streams(content)
    if content.startswith(b"\x89PNG") and sum(map(content.count, (b"iCCP", b"zTXt", b"iTXt"))) > MAX_TAGS:
        raise StructureError(f"expected a PNG with at most {MAX_TAGS:,} compressed texts and profiles, got more")
    return Structure()


def _fields(layout: str, content: bytes, at: int = 0) -> tuple[Any, ...]:
    """Unpack fields; those beyond the end are 0, as a decoder may ignore a truncated part."""
    size = struct.calcsize(layout)
    return struct.unpack(layout, content[at : at + size].ljust(size, b"\0"))


def _check_jpeg(content: bytes) -> int:
    segments, tables, scans, at = 0, 0, 0, 2
    while True:
        marker = (_MARKER if scans else _SEGMENT).search(content, at)
        if content.find(_PADDING, at, marker.start() + 1 if marker else len(content)) >= 0:
            raise StructureError(f"expected a JPEG with fewer than {len(_PADDING):,} fill bytes in a row, got more")
        if not marker or (code := marker[1][0]) == END_OF_IMAGE:
            return scans
        at = marker.end()
        segments += 1
        scans += code == START_OF_SCAN
        tables += not scans and (code not in _METADATA or content.startswith(_PARSED, at + 2))
        for name, count, most in (("segments", segments, MAX_SEGMENTS), ("scans", scans, MAX_SCANS),
                                  ("tables", tables, MAX_TABLES)):  # fmt: skip
            if count > most:
                raise StructureError(f"expected a JPEG with at most {most:,} {name}, got more")
        at += max(2, int.from_bytes(content[at : at + 2], "big"))


def _tile_size(content: bytes) -> tuple[int, int]:
    order, big = "<" if content[:2] == b"II" else ">", content[2:4] in (b"+\0", b"\0+")
    head, count, entry, offset = ("8xQ", "Q", "HHQ8s", "Q") if big else ("4xL", "H", "HHL4s", "L")
    (at,) = _fields(order + head, content)
    (tags,) = _fields(order + count, content, at)
    start, size = at + struct.calcsize(order + count), struct.calcsize(order + entry)
    if tags > MAX_TAGS:
        raise StructureError(f"expected a TIFF with at most {MAX_TAGS:,} tags, got {tags:,}")
    sides = {TILE_WIDTH: 0, TILE_HEIGHT: 0}
    for place in range(start, start + tags * size, size):
        tag, kind, number, value = _fields(order + entry, content, place)
        if tag in (STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES) and number > MAX_TILES:
            raise StructureError(f"expected a TIFF with at most {MAX_TILES:,} strips or tiles, got {number:,}")
        if tag in (STRIP_BYTES, TILE_BYTES) and kind in _INTEGERS:
            layout = f"{order}{number}{_INTEGERS[kind]}"
            source = (value, 0) if struct.calcsize(layout) <= len(value) else (content, *_fields(order + offset, value))
            if sum(min(size, len(content)) for size in _fields(layout, *source)) > max(len(content), JOINED):
                raise StructureError("expected a TIFF whose strips or tiles do not overlap")
        if tag in sides:
            if number != 1 or struct.calcsize(order + _INTEGERS.get(kind, "16x")) > len(value):
                raise StructureError("expected a TIFF whose tile size is two whole numbers")
            sides[tag] = max(sides[tag], *_fields(order + _INTEGERS[kind], value))
    return sides[TILE_WIDTH], sides[TILE_HEIGHT]


def _count(parts: Iterator[int]) -> None:
    if next(parts, None) is None:
        raise StructureError(f"expected a photograph with at most {MAX_PARTS:,} parts, got more")


_CONTAINERS = {
    b"meta": 4, b"moov": 0, b"moov/trak": 0, b"moov/trak/mdia": 0, b"moov/trak/mdia/minf": 0,
    b"moov/trak/mdia/minf/stbl": 0,
}  # fmt: skip
"""Paths of boxes that contain others, with the bytes before them."""


def _boxes(
    content: bytes, start: int, end: int, parts: Iterator[int], path: bytes = b""
) -> Iterator[tuple[bytes, int]]:
    """Yield the path of each box and the start of its content, also of those inside others."""
    while start + 8 <= end:
        _count(parts)
        size, kind, large = _fields(">L4sQ", content, start)
        head, size = (16, large) if size == 1 else (8, size or end - start)
        inner, start = start + head, min(start + size, end)
        if start < inner:
            return
        yield path + kind, inner
        if path + kind in _CONTAINERS:
            yield from _boxes(content, inner + _CONTAINERS[path + kind], start, parts, path + kind + b"/")


def _check_streams(content: bytes) -> Structure:
    """Count the frames of the AV1 streams of an AVIF: those of all items, and of the first sample of each track."""
    parts = iter(range(MAX_PARTS))
    location, data = len(content), 0
    tracks: list[tuple[list[int], list[int]]] = []
    for path, start in _boxes(content, 0, len(content), parts):
        match path.split(b"/"):
            case [b"meta", b"iloc"]:
                location = start
            case [b"meta", b"idat"]:
                data = start
            case [b"moov", b"trak"]:
                tracks.append(([], [0]))
            case [b"moov", b"trak", *_, b"stco" | b"co64" as kind]:
                tracks[-1][0].extend(_fields(">8xL" if kind == b"stco" else ">8xQ", content, start))
            case [b"moov", b"trak", *_, b"stsz"]:
                size, first = _fields(">4xL4xL", content, start)
                tracks[-1][1].append(size or first)
    view = memoryview(content)
    streams = [view[start : start + max(sizes)] for starts, sizes in tracks for start in starts]
    streams += _items(view, location, data, parts)
    frames = [pixels for stream in streams for pixels in _frames(stream, parts)]
    return Structure(frames=frames.count(0), largest=max(frames, default=0))


def _items(content: memoryview, at: int, data: int, parts: Iterator[int]) -> Iterator[memoryview]:
    """Yield the content of the items that a box `iloc` locates; `data` is the start of the box `idat`."""

    def take(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(content[at - size : at], "big")

    version, _, sizes, bases = take(1), take(3), take(1), take(1)
    left = max(len(content), JOINED)
    for _ in range(take(2 if version < 2 else 4)):
        _count(parts)
        take(2 if version < 2 else 4)
        inside = take(2) & 15 if version else 0
        take(2)
        base, extents = take(bases >> 4) + (data if inside == 1 else 0), []
        for _ in range(take(2)):
            _count(parts)
            take(bases & 15 if version else 0)
            start, length = base + take(sizes >> 4), take(sizes & 15) or len(content)
            extents.append(content[start : start + length])
        left -= sum(map(len, extents))
        if left < 0:
            raise StructureError("expected a photograph whose parts do not overlap")
        yield extents[0] if len(extents) == 1 else memoryview(b"".join(extents))


def _frames(stream: memoryview, parts: Iterator[int]) -> Iterator[int]:
    """Yield 0 for each frame of an AV1 stream, and for each sequence header the most pixels of its frames."""
    at = 0
    while at < len(stream):
        _count(parts)
        head = stream[at]
        at += 2 if head & 4 else 1
        size = 0 if head & 2 else len(stream) - at
        for shift, byte in enumerate(stream[at : at + 8] if head & 2 else b""):
            size, at = size | (byte & 127) << 7 * shift, at + 1
            if byte < 128:
                break
        match head >> 3:  # data of another kind may begin with the highest bit, which is 0 in AV1
            case 1:
                yield _sequence_pixels(bytes(stream[at : at + min(size, 512)]))
            case 3 | 6:
                yield 0
        at += size


def _sequence_pixels(header: bytes) -> int:
    bits, at = int.from_bytes(header.ljust(512, b"\0"), "big"), 0

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
                take(next((k for k in range(32) if take(1)), 32))
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
    return width * height if is_fixed else 1 << width_bits + height_bits
