"""Photographs of all supported formats decode to upright RGB; other files are rejected with a one-line error."""

import io
import os
import struct
import subprocess
import threading
import time
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from captioner.errors import DataError
from captioner.images.photo import FORMATS, LINK, PIXELS, decode, list_photos, read_photo, square

KNOWN = ", ".join(FORMATS)
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


def refusal(content: bytes) -> str:
    with pytest.raises(DataError) as caught:
        decode(content, "a.jpg", 8)
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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "order"),
    [(1, "RGBx"), (2, "GRxB"), (3, "xBGR"), (4, "BxRG"), (5, "RBGx"), (6, "BRxG"), (7, "xGBR"), (8, "GxRB")],
)
def test_the_exif_orientation_is_applied(kind: str, orientation: int, order: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    photo = decode(encoded(corners(), kind, exif=exif), "a", 100)
    expected = [dict(zip("RGBx", CORNERS, strict=True))[letter] for letter in order]
    assert alike(quarters(photo), expected)
    assert photo.size == ((48, 32) if orientation < 5 else (32, 48))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0", b"Exif\0\0no notes", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\1\7\0"],
)
def test_damaged_exif_data_is_ignored(kind: str, exif: bytes) -> None:
    content = encoded(corners(), kind, exif=exif)
    with warnings.catch_warnings(record=True) as recorded:
        assert alike(quarters(decode(content, "a", 100)), CORNERS)
    assert not recorded


def test_an_invalid_orientation_is_ignored() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 9
    assert alike(quarters(decode(encoded(corners(), "JPEG", exif=exif), "a", 100)), CORNERS)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read(kind: str) -> None:
    assert alike(quarters(decode(encoded(corners(), kind), "a", 100)), CORNERS)


def test_a_palette_is_applied() -> None:
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert quarters(decode(encoded(corners().quantize(8), kind), "a", 100)) == list(CORNERS)


@pytest.mark.parametrize("transparency", [0, bytes([0, 255, 255])])
def test_a_transparent_entry_of_a_palette_is_white(transparency: int | bytes) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([*BLUE, *RED, *GREEN])
    image.paste(1, (2, 0, 4, 2))
    got = quarters(decode(encoded(image, "PNG", transparency=transparency), "a", 100))
    assert got == [WHITE, RED, WHITE, WHITE]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_blended_with_white(kind: str) -> None:
    clear = corners().convert("RGBA")
    clear.putalpha(Image.new("L", clear.size, 128))
    expected = [tuple(np.uint8((c * 128 + 255 * 127) / 255) for c in colour) for colour in CORNERS]
    assert alike(quarters(decode(encoded(clear, kind), "a", 100)), np.array(expected, int))
    grey = Image.new("LA", (4, 4), (0, 0))
    assert quarters(decode(encoded(grey, kind), "a", 100)) == [WHITE] * 4


def test_a_transparent_colour_without_alpha_is_white() -> None:
    assert quarters(decode(encoded(corners(), "PNG", transparency=RED), "a", 100)) == [WHITE, GREEN, BLUE, GREY]
    assert quarters(decode(encoded(Image.new("L", (4, 4), 7), "PNG", transparency=7), "a", 100)) == [WHITE] * 4


def test_cmyk_is_converted_to_rgb() -> None:
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for kind in ("JPEG", "TIFF"):
        assert alike(quarters(decode(encoded(ink, kind), "a", 100)), [RED] * 4)


def test_other_colour_spaces_are_converted() -> None:
    assert alike(quarters(decode(encoded(corners().convert("YCbCr"), "TIFF"), "a", 100)), CORNERS)
    assert alike(quarters(decode(encoded(Image.new("LAB", (4, 4), (255, 128, 128)), "TIFF"), "a", 100)), [WHITE] * 4)


def test_16_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 1000, 32896, 65535]], np.uint16)
    for kind in ("PNG", "TIFF", "PPM"):
        pixels = np.asarray(decode(encoded(Image.fromarray(values), kind), "a", 100))
        assert pixels.tolist() == [[[x] * 3 for x in (0, 3, 128, 255)]]
    big = values.astype(">u2").tobytes()
    assert np.asarray(decode(b"P5 4 1 65535 " + big, "a", 100))[0, :, 0].tolist() == [0, 3, 128, 255]
    deep = png(2, 1, 16, 2, b"\0" + struct.pack(">6H", 0, 32896, 65535, 65535, 0, 257))
    assert np.asarray(decode(deep, "a", 100)).tolist() == [[[0, 128, 255], [255, 0, 1]]]


def test_12_bits_are_scaled_by_their_maximum() -> None:
    rows = bytes.fromhex("000fff") + bytes.fromhex("800801")
    assert np.asarray(decode(tiff(12, rows, 2), "a", 100))[..., 0].tolist() == [[0, 255], [127, 127]]


def test_modes_without_a_defined_white_are_rejected() -> None:
    assert refusal(encoded(Image.new("F", (4, 4), 0.5), "TIFF")) == (
        "expected 8 or 16 bits per pixel, got floating point; save it as PNG or JPEG"
    )
    assert refusal(encoded(Image.new("I", (4, 4), 200), "TIFF")) == (
        "expected 8 or 16 bits per pixel, got signed or 32-bit numbers; save it as PNG or JPEG"
    )


def test_one_bit_and_grey_images_are_read() -> None:
    for mode in ("1", "L"):
        for kind in ("PNG", "TIFF", "BMP", "PPM", "GIF", "JPEG"):
            image = Image.new("L", (16, 16), 0)
            image.paste(255, (8, 0, 16, 16))
            got = quarters(decode(encoded(image.convert(mode), kind), "a", 100))
            assert alike(got, [(0, 0, 0), WHITE] * 2)


def test_a_progressive_jpeg_is_read() -> None:
    assert alike(quarters(decode(encoded(corners(), "JPEG", progressive=True), "a", 100)), CORNERS)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_the_first_frame_is_used(kind: str) -> None:
    content = encoded(corners(), kind, save_all=True, append_images=[Image.new("RGB", (48, 32), WHITE)])
    with Image.open(io.BytesIO(content)) as image:
        assert getattr(image, "n_frames", 1) == 2
    assert alike(quarters(decode(content, "a", 100)), CORNERS)


def test_a_transparent_animation_has_a_white_background() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([*BLUE, *RED])
    image.paste(1, (0, 0, 2, 2))
    assert quarters(decode(encoded(image, "GIF", transparency=0), "a", 100)) == [RED, WHITE, WHITE, WHITE]


@pytest.mark.parametrize("size", [(400, 300), (399, 1000), (47, 2000), (2, 2)])
@pytest.mark.parametrize("min_side", [1, 8, 30, 300])
def test_a_reduced_jpeg_has_at_least_twice_the_minimum_side(size: tuple[int, int], min_side: int) -> None:
    content = encoded(Image.new("RGB", size), "JPEG")
    got = decode(content, "a", min_side).size
    assert got == size or min(got) >= 2 * min_side
    assert abs(got[0] / size[0] - got[1] / size[1]) < 1 / min(size)
    if size == (400, 300) and min_side == 8:
        assert got == (50, 38)


def test_a_reduced_jpeg_equals_a_scaled_one() -> None:
    content = encoded(corners(480, 320), "JPEG")
    assert decode(content, "a", 20).size == (60, 40)
    assert alike(quarters(decode(content, "a", 20)), CORNERS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_extreme_aspect_ratio_is_cropped_to_a_square(kind: str) -> None:
    for size in ((1, 60000), (60000, 1)):
        photo = decode(encoded(Image.new("L", size, 128), kind), "a", 16)
        assert photo.size == size
        assert np.asarray(square(photo, 16)).tolist() == np.full((16, 16, 3), 128).tolist()


def test_the_centre_is_cropped() -> None:
    image = Image.new("RGB", (30, 10), RED)
    image.paste(GREEN, (10, 0, 20, 10))
    assert np.asarray(square(image, 10)).tolist() == np.full((10, 10, 3), GREEN).tolist()
    assert square(corners(16, 16), 16).tobytes() == corners(16, 16).tobytes()
    assert square(corners(7, 300), 16).size == (16, 16)


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


@pytest.mark.parametrize("side", [9460, 14000, 60000])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_decompression_bomb_is_rejected(kind: str, side: int) -> None:
    resource = pytest.importorskip("resource")
    content = bomb(kind, side)
    assert len(content) < 2000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        message = refusal(content)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()
    assert message == f"expected at most {PIXELS:,} pixels; make the photograph smaller"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 20_000  # KiB; on macOS bytes, which is stricter


def test_a_memory_error_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    content = encoded(corners())
    monkeypatch.setattr(Image.Image, "convert", fails)
    assert refusal(content) == "not enough memory to read this photograph"


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfa dog\nruns", b"<svg/>", b"RIFF\0\0\0\0WAVE", bytes(900)])
def test_other_files_are_rejected_with_their_first_bytes(content: bytes) -> None:
    assert refusal(content) == f"expected a photograph ({KNOWN}), got a file that begins with {content[:12]!r}"


def test_an_empty_file_is_rejected() -> None:
    assert refusal(b"") == f"expected a photograph ({KNOWN}), got an empty file"


def test_no_other_program_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_if_started(*args: object, **_: object) -> None:
        raise AssertionError(f"started {args}")

    monkeypatch.setattr(subprocess, "Popen", fail_if_started)
    monkeypatch.setattr(subprocess, "check_call", fail_if_started)
    monkeypatch.setattr(os, "system", fail_if_started)
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    assert refusal(page).startswith("expected a photograph (")
    assert not {"EPS", "WMF", "IPTC", "FITS", "MSP"} & set(FORMATS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_file_is_rejected(kind: str) -> None:
    rng = np.random.default_rng(0)
    content = encoded(Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)), kind)
    for length in (len(content) // 2, len(content) - 100):
        message = refusal(content[:length])
        assert message.startswith("damaged or truncated: ")
        assert message.endswith("; try a new copy")


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(corners(), "PNG"))
    assert quarters(read_photo(path, 100)) == list(CORNERS)
    assert quarters(read_photo(str(path), 100)) == list(CORNERS)


def test_only_regular_files_are_read_without_blocking(tmp_path: Path) -> None:
    pipe, link, missing = tmp_path / "pipe.jpg", tmp_path / "link.jpg", tmp_path / "no.jpg"
    os.mkfifo(pipe)
    link.symlink_to(missing)
    for path, problem in (
        (pipe, "expected a regular file, got a named pipe"),
        (tmp_path, "expected a regular file, got a folder"),
        (link, f"not found; expected a photograph; it is a broken link to {missing}"),
        (missing, "not found; expected a photograph; check the name"),
        (Path("/dev/zero"), "expected a regular file, got a device"),
    ):
        with pytest.raises(DataError) as caught:
            read_photo(path, 8)
        assert str(caught.value) == f"{path}: {problem}"


def test_a_file_without_permission_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(corners()))
    path.chmod(0)

    def forbidden(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    if os.geteuid() == 0:  # who may read everything
        monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(DataError) as caught:
        read_photo(path, 8)
    assert str(caught.value) == f"{path}: cannot be opened: Permission denied"


def test_threads_restore_the_warning_filters() -> None:
    contents = [encoded(corners()), bomb("PNG", 9460), bomb("GIF", 14000)] * 30
    start = threading.Barrier(6)

    def work(worker: int) -> list[bool]:
        start.wait()
        outcomes = []
        for content in contents[worker:]:
            try:
                outcomes.append(decode(content, "a", 8).mode == "RGB")
            except DataError as problem:
                outcomes.append("pixels" not in str(problem))
        return outcomes

    before = list(warnings.filters)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(work, range(6)))
    assert found == [([True, False, False] * 30)[worker:] for worker in range(6)]
    assert list(warnings.filters) == before


def test_only_one_thread_changes_the_warning_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    content, inside, peak, start = encoded(corners()), 0, 0, threading.Barrier(4)
    real_open = Image.open

    def slow_open(*args: Any, **options: Any) -> Any:
        nonlocal inside, peak
        inside += 1
        peak = max(peak, inside)
        time.sleep(0.01)
        inside -= 1
        return real_open(*args, **options)

    def work(_: int) -> str:
        start.wait()
        return decode(content, "a", 8).mode

    monkeypatch.setattr(Image, "open", slow_open)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == ["RGB"] * 4
    assert peak == 1


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (12, 12, 3), np.uint8))


SEEDS = {
    **{kind: encoded(noise(), kind) for kind in FORMATS},
    "progressive": encoded(noise(), "JPEG", progressive=True),
    "exif": encoded(noise(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
    "palette": encoded(noise().quantize(16), "PNG", transparency=bytes([0, 9, 255])),
    "mpo": encoded(noise(), "MPO", save_all=True, append_images=[noise()]),
    "apng": encoded(noise(), "PNG", save_all=True, append_images=[corners(12, 12)]),
    "gif": encoded(noise(), "GIF", save_all=True, append_images=[corners(12, 12)], transparency=3),
    "webp": encoded(noise(), "WEBP", save_all=True, append_images=[corners(12, 12)]),
    "packed": encoded(noise(), "TIFF", compression="tiff_lzw"),
    "16": encoded(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000), "TIFF"),
}


@pytest.mark.parametrize("kind", SEEDS)
def test_a_damaged_file_gives_an_image_or_a_one_line_error(kind: str) -> None:
    content, rng = SEEDS[kind], np.random.default_rng(zlib.crc32(kind.encode()))
    assert decode(content, "a", 8).mode == "RGB"
    outcomes = {"read": 0, "rejected": 0}
    for turn in range(120):
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            near = len(content) if turn % 2 else min(len(content), 200)  # headers are where the traps are
            damaged[rng.integers(near)] = rng.integers(256)
        if turn % 4 == 0:
            del damaged[rng.integers(len(content)) :]
        try:
            photo = decode(bytes(damaged), "a", 8)
            assert photo.mode == "RGB"
            outcomes["read"] += 1
        except DataError as problem:
            outcomes["rejected"] += str(problem).isprintable()
    assert sum(outcomes.values()) == 120
    assert outcomes["rejected"] > 0


def test_photographs_in_a_folder_are_sorted(tmp_path: Path) -> None:
    for name in (
        "b.JPG",
        "a.png",
        "notes.txt",
        ".hidden.png",
        "sub/c.webp",
        ".git/d.png",
        "sub/.x/e.png",
        "sub/f",
        "g.jpg/h.gif",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    found = [str(path.relative_to(tmp_path)) for path in list_photos(tmp_path, pytest.fail)]
    assert found == ["a.png", "b.JPG", "g.jpg/h.gif", "sub/c.webp"]


def test_a_link_to_a_folder_elsewhere_is_reported_and_not_followed(tmp_path: Path) -> None:
    for name in ("album/a.png", "album/more/b.png", "other/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for link, folder in (("x", "other"), ("y", "album/more"), ("z", "album"), ("up", "."), ("gone", "nowhere")):
        (tmp_path / "album" / link).symlink_to(tmp_path / folder)
    errors: list[OSError] = []
    assert list_photos(tmp_path / "album", errors.append) == [
        tmp_path / "album" / "a.png",
        tmp_path / "album" / "more" / "b.png",
    ]
    assert sorted(error.filename for error in errors) == [str(tmp_path / "album" / link) for link in ("up", "x")]
    assert {error.strerror for error in errors} == {LINK}


def test_a_hidden_folder_given_by_name_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".photos").mkdir()
    (tmp_path / ".photos" / "a.png").write_bytes(b"")
    assert list_photos(tmp_path / ".photos", pytest.fail) == [tmp_path / ".photos" / "a.png"]
    monkeypatch.chdir(tmp_path / ".photos")
    assert list_photos(Path(), pytest.fail) == [Path("a.png")]
    assert list_photos(Path("../.photos"), pytest.fail) == [Path("../.photos/a.png")]


@pytest.mark.usefixtures("unreadable_shut")
def test_an_unreadable_folder_is_reported(tmp_path: Path) -> None:
    for name in ("a.png", "shut/b.png", "z/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    errors: list[OSError] = []
    assert list_photos(tmp_path, errors.append) == [tmp_path / "a.png", tmp_path / "z" / "c.png"]
    assert [error.filename for error in errors] == [str(tmp_path / "shut")]
