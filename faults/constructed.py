"""Small files that contradict themselves or declare more than they contain: time and memory to decode each."""

from __future__ import annotations

import functools
import io
import itertools
import re
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from captioner.errors import DataError
from captioner.images.photo import can_read_heic, decoded
from faults import watch
from faults.session import Figure, Row, Session, row
from faults.watch import CLEAR_PEAK, ESCAPED, Outcome, classify, peak_kib, resident_kib

FLAT = (200, 30, 30)
MIB = 1 << 20
EMPTY_EXIF = b"Exif\0\0"


@functools.cache
def encoded(side: int, kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """Encode a square photograph of one colour."""
    buffer = io.BytesIO()
    colour = {"RGB": FLAT, "RGBA": (*FLAT, 128), "L": 90}[mode]
    Image.new(mode, (side, side), colour).save(buffer, kind, **options)
    return buffer.getvalue()


Entry = tuple[int, int, Sequence[int]]
"""Number, type and values of a TIFF tag."""
BYTE, SHORT, LONG, UNDEFINED, LONG8 = 1, 3, 4, 7, 16


def tiff(entries: Sequence[Entry], data: bytes, following: int = 0) -> bytes:
    """Build a TIFF of one directory, with `data` at its end; a value of -1 is replaced by the offset of `data`."""
    formats = {BYTE: "B", SHORT: "H", LONG: "L", UNDEFINED: "B", LONG8: "L"}
    directory = 8 + 2 + 12 * len(entries) + 4
    extra = sum(len(values) * struct.calcsize(formats[kind]) for _, kind, values in entries if len(values) > 1)
    lines, outside = b"", b""
    for tag, kind, values in sorted(entries):
        numbers = [directory + extra if value == -1 else value for value in values]
        packed = struct.pack(f"<{len(numbers)}{formats[kind]}", *numbers)
        if len(numbers) > 1:
            place = struct.pack("<L", directory + len(outside))
            outside += packed
        else:
            place = packed.ljust(4, b"\0")
        lines += struct.pack("<HHL", tag, kind, len(numbers)) + place
    count = struct.pack("<H", len(entries))
    return b"II*\0" + struct.pack("<L", 8) + count + lines + struct.pack("<L", following) + outside + data


def image_tags(side: int, compression: int, samples: int = 3, bits: int = 8) -> list[Entry]:
    return [
        (256, LONG, [side]), (257, LONG, [side]), (258, SHORT, [bits] * samples), (259, SHORT, [compression]),
        (262, SHORT, [2 if samples > 1 else 1]), (277, SHORT, [samples]),
    ]  # fmt: skip


def tiles(side: int, tile: int, compression: int, samples: int = 3, bits: int = 8) -> bytes:
    """A TIFF of `side` pixels in tiles of `tile` pixels."""
    data = zlib.compress(bytes(64))
    count = (-(-side // tile)) ** 2
    place = [(322, LONG, [tile]), (323, LONG, [tile]), (324, LONG, [-1] * count), (325, LONG, [len(data)] * count)]
    return tiff([*image_tags(side, compression, samples, bits), *place], data)


def strips(side: int, rows: int, compression: int, data: bytes, claimed: int | None = None) -> bytes:
    place = [(273, LONG, [-1]), (278, LONG, [rows]), (279, LONG, [len(data) if claimed is None else claimed])]
    return tiff([*image_tags(side, compression), *place], data)


def overlapping_tags(count: int, size: int, head: bytes = b"II*\0") -> bytes:
    """A directory of tags that all have the same `size` bytes as their value."""
    start = 8 + 2 + 12 * count + 4
    lines = b"".join(struct.pack("<HHLL", 10_000 + k, UNDEFINED, size, start) for k in range(count))
    return head + struct.pack("<LH", 8, count) + lines + bytes(4 + size)


def with_tags(count: int, size: int) -> bytes:
    """A TIFF of 8 x 8 pixels with additional tags that overlap."""
    entries = [*image_tags(8, 1, 1), (273, LONG, [-1]), (278, LONG, [8]), (279, LONG, [64])]
    whole = bytearray(tiff(entries, bytes(64)))
    start = len(whole) + 2 + 12 * (len(entries) + count) + 4
    lines = whole[10 : 10 + 12 * len(entries)]
    extra = b"".join(struct.pack("<HHLL", 10_000 + k, UNDEFINED, size, start) for k in range(count))
    whole[4:8] = struct.pack("<L", len(whole))
    return bytes(whole + struct.pack("<H", len(entries) + count) + lines + extra + bytes(4 + size))


def directories(count: int, loop: bool) -> bytes:
    """A TIFF with a chain of directories, the last of which may lead to the first."""
    first = tiff([*image_tags(8, 1, 1), (273, LONG, [-1]), (278, LONG, [8]), (279, LONG, [64])], bytes(64))
    at = len(first)
    lines = first[8:-64][: 2 + 12 * 9]
    size = len(lines) + 4
    following = [at + k * size for k in range(1, count)] + [8 if loop else 0]
    chain = b"".join(lines + struct.pack("<L", place) for place in following)
    end = 8 + len(lines)
    return first[:end] + struct.pack("<L", len(first)) + first[end + 4 :] + chain


def segment(code: int, content: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, code, 2 + len(content)) + content


def jpeg(before: bytes = b"", side: int = 8, **options: Any) -> bytes:
    """A JPEG with `before` after its first marker."""
    whole = encoded(side, "JPEG", **options)
    return whole[:2] + before + whole[2:]


def with_frame(whole: bytes, width: int, height: int) -> bytes:
    """Change the size in the frame header of a JPEG."""
    changed = bytearray(whole)
    at = max(whole.find(b"\xff\xc0"), whole.find(b"\xff\xc2")) + 5
    changed[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(changed)


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(before: bytes = b"", side: int = 8, after: bytes = b"", rows: bytes | None = None, piece: int = 0) -> bytes:
    """A PNG with chunks before and after its image data, which may be divided into pieces."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    data = zlib.compress(bytes(side * (1 + 3 * side)) if rows is None else rows)
    pieces = [data[k : k + piece] for k in range(0, len(data), piece)] if piece else [data]
    body = b"".join(chunk(b"IDAT", part) for part in pieces)
    return b"\x89PNG\r\n\x1a\n" + head + before + body + after + chunk(b"IEND")


def gif(before: bytes = b"", screen: int = 8, frame: int | None = None) -> bytes:
    """A GIF with blocks before its only frame, which may be larger than the screen."""
    whole = encoded(8, "GIF", "L")
    start = 13 + 3 * (2 << (whole[10] & 7))
    at = whole.index(b",", start)
    size = struct.pack("<HH", *[frame or 8] * 2)
    return (
        whole[:6] + struct.pack("<HH", screen, screen) + whole[10:start] + before
        + whole[at : at + 5] + size + whole[at + 9 :]
    )  # fmt: skip


def blocks(size: int, count: int) -> bytes:
    """A comment of a GIF, in blocks."""
    return b"!\xfe" + (bytes([size]) + b"a" * size) * count + b"\0"


def rle_bmp(width: int, height: int, data: bytes) -> bytes:
    """A BMP with run-length encoding of 8 bits."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    return struct.pack("<2sIHHI", b"BM", 14 + 40 + 1024 + len(data), 0, 0, 14 + 40 + 1024) + info + bytes(1024) + data


def webp(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def riff(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def animated_webp(canvas: int, frames: int, side: int = 8, extra: bytes = b"") -> bytes:
    """A WebP animation whose frames are smaller than its canvas."""
    size = struct.pack("<I", canvas - 1)[:3] * 2
    stream = encoded(side, "WEBP", lossless=True)[12:]
    frame = bytes(6) + struct.pack("<I", side - 1)[:3] * 2 + bytes(4) + stream
    flags = 2 + (8 if extra else 0)
    return webp(riff(b"VP8X", bytes([flags, 0, 0, 0]) + size) + riff(b"ANIM", bytes(6)) + riff(b"ANMF", frame) * frames
                + extra)  # fmt: skip


def with_size(whole: bytes, width: int, height: int) -> bytes:
    """Change every size that an AVIF or HEIC file declares for an item or a track."""
    changed = bytearray(whole)
    for kind in re.finditer(b"ispe|tkhd", whole):
        end = kind.start() - 4 + int.from_bytes(whole[kind.start() - 4 : kind.start()], "big")
        shift = 16 if kind[0] == b"tkhd" else 0  # a fixed-point number
        changed[end - 8 : end] = struct.pack(">LL", width << shift, height << shift)
    return bytes(changed)


def box(kind: bytes, *content: bytes) -> bytes:
    whole = b"".join(content)
    return struct.pack(">L", 8 + len(whole)) + kind + whole


def avif(streams: Sequence[bytes], extents: int = 1, version: int = 0, no_extents: int = 0) -> bytes:
    """An AVIF of 64 pixels: an item for each stream, in equal parts, and others; equal streams are stored once."""
    count, stored = struct.pack(">L" if version else ">H", len(streams)), list(dict.fromkeys(streams))
    entries = b"".join(box(b"infe", struct.pack(">LHH4sx", 2 << 24, k + 1, 0, b"av01")) for k in range(len(streams)))

    def meta(start: int) -> bytes:
        starts = dict(zip(stored, itertools.accumulate(map(len, stored), initial=start), strict=False))
        places = b""
        for number, stream in enumerate(streams):
            size = -(-len(stream) // extents)
            places += struct.pack(">LHHH", number + 1, 0, 0, extents)
            for at in range(0, len(stream), size):
                places += struct.pack(">LL", starts[stream] + at, min(size, len(stream) - at))
        places += bytes(10) * no_extents
        return box(
            b"meta", bytes(4), box(b"hdlr", bytes(8), b"pict", bytes(13)), box(b"pitm", bytes(4), b"\0\1"),
            box(b"iinf", bytes([version, 0, 0, 0]), count, entries),
            box(b"iloc", struct.pack(">LHL", 2 << 24, 0x4400, len(streams) + no_extents), places),
            box(b"iprp", box(b"ipco", box(b"ispe", struct.pack(">4xLL", 64, 64)))),
        )  # fmt: skip

    head = box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf")
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", *stored)


def sequence(side: int, points: int = 1) -> bytes:
    """A sequence header of an AV1 stream, with a number of operating points."""
    size = (side - 1).bit_length()
    bits = f"{points - 1:012b}" + "0" * 17 * points + f"{size - 1:04b}" * 2 + f"{side - 1:0{size}b}" * 2
    header = int(bits + "1" * (-len(bits) % 8), 2).to_bytes(-(-len(bits) // 8), "big")
    return b"\x0a" + bytes([len(header)]) + header


def mpo(frames: int) -> bytes:
    """A JPEG that declares a number of further images that are not there."""
    entries = [
        (0xB000, UNDEFINED, list(b"0100")),
        (0xB001, LONG, [frames]),
        (0xB002, UNDEFINED, [0] * 16 * min(frames, 4000)),
    ]
    return jpeg(segment(0xE2, b"MPF\0" + tiff(entries, b"")[:65000]))


def families() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield the name and the function that builds each file."""
    for tile, compression in itertools.product((4112, 8192, 20_000, 30_000, 46_000), (1, 5, 7, 8, 32773)):
        yield f"tiff tile {tile} compression {compression}", lambda t=tile, c=compression: tiles(8, t, c)
    for tile, (samples, bits) in itertools.product((4096, 16_000, 65_520), ((1, 8), (4, 8), (4, 16), (3, 16))):
        yield f"tiff tile {tile} of {samples} x {bits} bits", lambda t=tile, s=samples, b=bits: tiles(100, t, 8, s, b)
    for kind, height in itertools.product((LONG, LONG8), (8, 1 << 20)):
        place = [(322, kind, [16]), (323, kind, [height]), (324, LONG, [-1] * 200), (325, LONG, [64] * 200)]
        yield (
            f"tiff tiles of 16 x {height} of type {kind}",
            lambda p=place: tiff([*image_tags(3200, 8), *p], zlib.compress(bytes(64))),
        )
    yield (
        "tiff of 9000 strips that share 4 MiB",
        lambda: tiff(
            [
                *image_tags(9000, 8),
                (266, SHORT, [2]),
                (273, LONG, [-1] * 9000),
                (278, LONG, [1]),
                (279, LONG, [4 * MIB] * 9000),
            ],
            zlib.compress(bytes(27_000)) + bytes(4 * MIB),
        ),
    )
    for side, compression in itertools.product((2000, 9000), (1, 5, 7, 8, 34712, 34887, 34925, 50000, 50001)):
        yield f"tiff {side} compression {compression} without data", lambda s=side, c=compression: strips(s, s, c, b"")
    for rows, claimed in itertools.product((0, 1, 1 << 31, (1 << 32) - 1), (0, 1 << 20, (1 << 32) - 1)):
        yield f"tiff strips of {rows} rows, {claimed} bytes", lambda r=rows, c=claimed: strips(3000, r, 8, bytes(99), c)
    for inner in (4000, 16_000, 65_500):
        stream = lambda i=inner: with_frame(encoded(8, "JPEG"), i, i)  # noqa: E731
        yield f"tiff with a jpeg of {inner}", lambda f=stream: strips(64, 64, 7, f())
        yield f"tiff tile with a jpeg of {inner}", lambda f=stream: tiles(64, 64, 7)[:-16] + f()
    for count, size in ((2000, MIB), (20_000, MIB), (50_000, 4096), (50_000, 16 * MIB)):
        yield f"tiff with {count} tags of {size}", lambda c=count, s=size: with_tags(c, s)
        yield f"png exif of {count} tags of {size}", lambda c=count, s=size: png(chunk(b"eXIf", overlapping_tags(c, s)))
        yield (
            f"webp exif of {count} tags of {size}",
            lambda c=count, s=size: animated_webp(8, 1, extra=riff(b"EXIF", overlapping_tags(c, s))),
        )
    for count, size in ((5000, 4000), (2000, 30_000), (10, 60_000)):
        exif = lambda c=count, s=size: EMPTY_EXIF + overlapping_tags(c, s)[:65_500]  # noqa: E731
        yield f"jpeg exif of {count} tags of {size}", lambda f=exif: jpeg(segment(0xE1, f()))
    for count, loop in itertools.product((1, 1000, 50_000), (False, True)):
        yield f"tiff of {count} directories, loop {loop}", lambda c=count, p=loop: directories(c, p)
    for code, count in itertools.product((0xE0, 0xE1, 0xE2, 0xED, 0xFE, 0xDB, 0xDD), (5000, 1_700_000)):
        yield f"jpeg of {count} empty segments {code:x}", lambda c=code, n=count: jpeg(segment(c) * n)
    for count in (5000, 1_700_000):
        yield f"jpeg of {count} empty Exif", lambda n=count: jpeg(segment(0xE1, EMPTY_EXIF) * n)
        yield f"jpeg of {count} empty ICC", lambda n=count: jpeg(segment(0xE2, b"ICC_PROFILE\0\1\1") * n)
        yield f"jpeg of {count} XMP", lambda n=count: jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0") * n)
    for count in (200, 1600):
        yield f"jpeg of {count} full Exif", lambda n=count: jpeg(segment(0xE1, EMPTY_EXIF + bytes(65_000)) * n)
        yield f"jpeg of {count} comments of fill bytes", lambda n=count: jpeg(segment(0xFE, b"\xff" * 65_000) * n)
        yield f"jpeg of {count} full ICC", lambda n=count: jpeg(segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(65_000)) * n)
        hidden = lambda: segment(0xF0, segment(0xE1, EMPTY_EXIF) * 6000)  # noqa: E731
        yield f"jpeg of {count} segments that hide Exif", lambda n=count, f=hidden: jpeg(f() * n)
    for junk, name in (
        (b"\0", "zeros"),
        (b"\xff", "padding"),
        (b"\xff\xd8", "starts"),
        (b"\xff\xd0", "restarts"),
        (b"\xff\0", "escapes"),
    ):
        yield f"jpeg of 20 MiB of {name}", lambda j=junk: jpeg(j * (20 * MIB // len(j)))
        yield f"jpeg scan with 20 MiB of {name}", lambda j=junk: jpeg(side=64)[:-2] + j * (20 * MIB // len(j))
    for side in (9000, 20_000, 65_500):
        for progressive in (False, True):
            yield (
                f"jpeg of 8 pixels that declares {side}, progressive {progressive}",
                lambda s=side, p=progressive: with_frame(jpeg(progressive=p), s, s),
            )
    for frames in (2, 4000, 1_000_000, (1 << 32) - 1):
        yield f"mpo of {frames} images", lambda n=frames: mpo(n)
    for kind, count in itertools.product((b"tEXt", b"prVt", b"gAMA", b"IDAT", b"fdAT", b"fcTL"), (2000, 1_500_000)):
        yield f"png of {count} empty {kind.decode()}", lambda k=kind, n=count: png(chunk(k) * n)
    for count in (2000, 1_500_000):
        yield f"png of {count} empty chunks at its end", lambda n=count: png(after=chunk(b"prVt") * n)
        text = lambda n: b"".join(chunk(b"tEXt", b"k%d\0v" % k) for k in range(n))  # noqa: E731
        yield f"png of {count} texts", lambda n=count, f=text: png(f(n))
    yield "png data in single bytes", lambda: png(side=3000, piece=1)
    for size in (MIB - 100, 40 * MIB, 400 * MIB):
        bomb = lambda n=size: zlib.compress(bytes(n), 9)  # noqa: E731
        yield f"png ICC profile of {size}", lambda f=bomb: png(chunk(b"iCCP", b"a\0\0" + f()))
        yield f"png text of {size}", lambda f=bomb: png(chunk(b"zTXt", b"a\0\0" + f()))
        yield f"png with 80 texts of {size}", lambda f=bomb: png(chunk(b"zTXt", b"a\0\0" + f()) * 80)
    for kind, head in ((b"iCCP", b"a\0\0"), (b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")):
        damaged = lambda k=kind, h=head: chunk(k, h + zlib.compress(bytes(MIB))[:-4])  # noqa: E731
        for count in (4000, 15_000):
            yield f"png of {count} damaged {kind.decode()}", lambda n=count, f=damaged: png(after=f() * n)
    yield (
        "png of 1 x 89 million",
        lambda: png(side=1).replace(
            png(side=1)[12:33], chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 89_000_000, 8, 6, 0, 0, 0))[4:]
        ),
    )
    yield "png with two headers", lambda: png(chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)))
    for side in (9000, 9400):
        yield f"png of {side} without data", lambda s=side: png(side=s, rows=b"")
    for size, count in ((255, 4000), (255, 100_000), (1, 100_000), (1, 5_000_000)):
        yield f"gif comment of {count} blocks of {size}", lambda s=size, n=count: gif(blocks(s, n))
    for count in (5000, 1_000_000):
        yield f"gif of {count} comments", lambda n=count: gif(blocks(1, 1) * n)
        yield f"gif of {count} extensions", lambda n=count: gif(b"!\xf9\4\0\0\0\0\0" * n)
    yield "gif of 20 MiB of junk", lambda: gif(b"x" * 20 * MIB)
    for frame in (9000, 65_535):
        yield f"gif frame of {frame}", lambda f=frame: gif(frame=f)
        yield f"gif screen of {frame}", lambda f=frame: gif(screen=f)
    for width, height in ((8, 8), (3000, 3000), (9000, 9000), (80_000_000, 1), (1, 80_000_000)):
        yield f"bmp of {width} x {height} with deltas", lambda w=width, h=height: rle_bmp(w, h, b"\0\2\xff\xff" * 9)
        yield f"bmp of {width} x {height} with ends", lambda w=width, h=height: rle_bmp(w, h, b"\1\1\0\0" * 5000)
    yield "bmp with 4 million runs", lambda: rle_bmp(2000, 2000, b"\1\1" * 4_000_000)
    yield "bmp with 20 million runs", lambda: rle_bmp(5000, 4000, b"\1\1" * 20_000_000)
    for maximum, side in itertools.product((255, 254, 1000), (1000, 3000)):
        size = side * side * (3 if maximum < 256 else 6)
        yield (
            f"ppm of {side} with maximum {maximum}",
            lambda s=side, m=maximum, n=size: b"P6 %d %d %d\n" % (s, s, m) + bytes(n),
        )
    for side in (1000, 3000):
        yield f"plain ppm of {side}", lambda s=side: b"P3 %d %d 255\n" % (s, s) + b"7 " * (3 * s * s)
        yield f"plain pbm of {side}", lambda s=side: b"P1 %d %d\n" % (s, s) + b"1" * (s * s)
    yield "ppm with a comment of 20 MiB", lambda: b"P6 #" + b"a" * 20 * MIB + b"\n8 8 255\n" + bytes(192)
    yield "ppm with 20 MiB of blanks", lambda: b"P6 " + b" " * 20 * MIB + b"8 8 255\n" + bytes(192)
    yield "floating-point pfm of 9000", lambda: b"Pf 9000 9000 -1.0\n" + bytes(99)
    for canvas, frames in itertools.product((8, 9000, 16_383, 1 << 24), (1, 10_000)):
        yield f"webp of {frames} frames on {canvas}", lambda c=canvas, n=frames: animated_webp(c, n)
    yield "webp of 300,000 chunks", lambda: animated_webp(8, 1, extra=riff(b"XMP ", b"") * 300_000)
    for side, mode in ((1000, "RGB"), (1000, "RGBA"), (5000, "RGB")):
        stream = lambda s=side, m=mode: encoded(s, "AVIF", m, speed=10)  # noqa: E731
        for declared in (64, 9000):
            yield f"avif of {side} {mode} that declares {declared}", lambda f=stream, d=declared: with_size(f(), d, d)
    for side in (1000, 3000):
        yield (
            f"avif animation of {side} that declares 64",
            lambda s=side: with_size(
                encoded.__wrapped__(s, "AVIF", save_all=True, append_images=[Image.new("RGB", (s, s))]), 64, 64
            ),
        )
    yield "avif of 40 streams of 19,000 units", lambda: avif([b"\x7a\0" * 19_000] * 40)
    yield "avif of 19,000 sequence headers", lambda: avif([sequence(64, 32) * 19_000])
    yield "avif of 1.9 million items", lambda: avif([], no_extents=1_900_000)
    yield (
        "avif of 19,000 boxes in 900 others",
        lambda: avif([]) + functools.reduce(lambda inner, _: box(b"moov", inner), range(900), box(b"free") * 19_000),
    )
    truncated = lambda: with_size(encoded(1000, "AVIF", speed=10), 64, 64) + b"\0\0\0\x08ispe"  # noqa: E731
    yield "avif of 1000 that declares 64, with a truncated box", truncated
    if can_read_heic():
        import pillow_heif

        pillow_heif.register_heif_opener()
        for side, declared in itertools.product((1000, 3000), (64, 2000, 9000)):
            yield (
                f"heic of {side} that declares {declared}",
                lambda s=side, d=declared: with_size(encoded(s, "HEIF"), d, d),
            )


REFUSED_SECONDS, REFUSED_MIB, SECONDS, BYTES_PER_PIXEL, KEPT_MIB = 2.0, 300, 8.0, 24, 100
"""Limits for refused photographs, and for accepted ones in addition to the memory of their pixels; memory is above that
of the process before, and `KEPT_MIB` of it may stay afterwards."""


@dataclass(frozen=True)
class Constructed:
    """Trial k decodes file k of a folder, and measures the time, and the memory during and after it."""

    folder: Path

    def __call__(self, number: int) -> Outcome:
        path = self.folder / f"{number}"
        name, content = path.with_suffix(".name").read_text(), path.read_bytes()
        pixels = 0

        def decode() -> None:
            nonlocal pixels
            with decoded(content, "photo", 224) as photo:
                pixels = photo.width * photo.height

        CLEAR_PEAK.write_text("5")
        before, started = resident_kib(), time.process_time()  # not that of other processes
        outcome = classify(decode, lambda _: "that declares" not in name, DataError)
        seconds, most = time.process_time() - started, (peak_kib() - before) >> 10
        kept = (resident_kib() - before) >> 10
        CLEAR_PEAK.write_text("5")  # what is accepted may need more than the limit of `watch`
        note = f"{name}: {outcome.kind}, {seconds:.1f} s, {most} MiB, {kept} MiB kept {outcome.note}"
        with open(self.folder / "measured.txt", "a") as file:
            file.write(f"{outcome.kind}\t{seconds:.2f}\t{most}\t{kept}\t{name}\n")
        if outcome.kind not in ESCAPED:
            refused = outcome.kind == "refused"
            if seconds > (REFUSED_SECONDS if refused else SECONDS):
                return Outcome("hung", note)
            if most > REFUSED_MIB + (0 if refused else pixels * BYTES_PER_PIXEL >> 20) or kept > KEPT_MIB:
                return Outcome("greedy", note)
        return outcome._replace(note=note)


def measure(session: Session) -> Iterator[Row | Figure]:
    """Decode all files, and report the largest time and memory of those that are refused."""
    folder = session.folder("constructed")
    makers = list(families())
    step = max(1, round(1 / session.share))
    for number, (name, make) in enumerate(makers[::step]):
        (folder / f"{number}").write_bytes(make())
        (folder / f"{number}.name").write_text(name)
    must = "refused within 2 s and 300 MiB, or decoded within 8 s and 24 bytes per pixel more"
    yield row("constructed photographs", must, watch.run(Constructed(folder), len(makers[::step]), patience=25.0))
    lines = [line.split("\t") for line in (folder / "measured.txt").read_text().splitlines()]
    refused = [line for line in lines if line[0] == "refused"]
    for what, column, most, unit in (
        ("time to refuse a constructed photograph", 1, REFUSED_SECONDS, "s"),
        ("memory to refuse a constructed photograph", 2, REFUSED_MIB, "MiB"),
    ):
        got = max((float(line[column]) for line in refused), default=0.0)
        yield {"what": what, "got": got, "most": most, "unit": unit}
