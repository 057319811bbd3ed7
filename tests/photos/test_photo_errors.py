"""Files that are no photographs, too large, damaged or unreadable; folders are listed; threads share Pillow's state."""

import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photographs import bomb, corners, encoded, error_of
from PIL import Image, ImageFile

from captioner.errors import DataError
from captioner.photos.photo import FORMATS, LINK, PIXELS, can_read_heic, decode_photo, list_photos


def test_modes_without_a_defined_white_are_rejected() -> None:
    for mode, kind in (("F", "floating point"), ("I", "signed or 32-bit numbers")):
        message = f"expected 8 or 16 bits per pixel, got {kind}; save it as PNG or JPEG"
        assert error_of(encoded(Image.new(mode, (4, 4), 200), "TIFF")) == message


@pytest.mark.parametrize("side", [9460, 14000, 60000])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_decompression_bomb_is_rejected(kind: str, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its pixels are decoded."""
    content = bomb(kind, side)
    assert len(content) < 2000
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    assert error_of(content) == f"expected at most {PIXELS:,} pixels; make the photograph smaller"


OTHER_FILES = {
    b"": "an empty file",
    b"\xef\xbb\xbfa dog\nruns": "a text file",
    "# Übungen\n".encode() * 90: "a text file",
    b"%PDF-1.4\n1 0 obj": "a PDF document",
    b"<svg/>": "an SVG drawing",
    b"RIFF\0\0\0\0WAVE": "a WebP, WAV or AVI file",
    b"\0\0\0\x18ftypisom": "a video",
    bytes(900): "a file of an unknown format",
}


@pytest.mark.parametrize("content", OTHER_FILES)
def test_other_files_are_rejected_with_their_format(content: bytes) -> None:
    got = OTHER_FILES[content]
    formats = ", ".join((*FORMATS, *["HEIC"] * can_read_heic()))
    assert error_of(content) == f"expected a photograph ({formats}), got {got}"


def test_formats_that_start_another_program_are_rejected() -> None:
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    assert error_of(page).startswith("expected a photograph (")
    assert not {"EPS", "WMF", "IPTC", "FITS", "MSP"} & set(FORMATS)


@pytest.mark.parametrize("kind", sorted({"JPEG", "PNG", "AVIF"} & set(FORMATS)))
def test_a_truncated_file_is_rejected(kind: str) -> None:
    rng = np.random.default_rng(0)
    content = encoded(Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)), kind)
    for length in (20, 40, len(content) // 2, len(content) - 100):
        message = error_of(content[:length])
        assert message.startswith("damaged or truncated: ")
        assert message.endswith("; try a new copy")


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
    assert decode_photo(content, "a", 8).mode == "RGB"
    outcomes = {"read": 0, "rejected": 0}
    for turn in range(120):
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            near = len(content) if turn % 2 else min(len(content), 200)  # most errors are in headers
            damaged[rng.integers(near)] = rng.integers(256)
        if turn % 4 == 0:
            del damaged[rng.integers(len(content)) :]
        try:
            photo = decode_photo(bytes(damaged), "a", 8)
            assert photo.mode == "RGB"
            outcomes["read"] += 1
        except DataError as problem:
            outcomes["rejected"] += str(problem).isprintable()
    assert sum(outcomes.values()) == 120
    assert outcomes["rejected"] > 0


def test_a_slow_photograph_does_not_delay_others(monkeypatch: pytest.MonkeyPatch) -> None:
    content, real_open, together = encoded(corners()), Image.open, threading.Barrier(4)

    def open_together(*args: Any, **options: Any) -> Any:
        together.wait(timeout=60)  # raises an error if a lock lets threads open their photographs in turn only
        return real_open(*args, **options)

    monkeypatch.setattr(Image, "open", open_together)
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: decode_photo(content, "a", 8).mode, range(4))) == ["RGB"] * 4
    assert list(warnings.filters) == before


def plant(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_photographs_in_a_folder_are_sorted(tmp_path: Path) -> None:
    plant(tmp_path, "b.JPG", "a.png", "notes.txt", ".hidden.png", "sub/c.webp", ".git/d.png", "sub/.x/e.png", "sub/f")
    plant(tmp_path, "g.jpg/h.gif")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    photos = [str(path.relative_to(tmp_path)) for path in list_photos(tmp_path, pytest.fail)]
    assert photos == ["a.png", "b.JPG", "g.jpg/h.gif", "sub/c.webp"]


def test_a_link_to_a_folder_elsewhere_is_reported_and_not_followed(tmp_path: Path) -> None:
    plant(tmp_path, "album/a.png", "album/more/b.png", "other/c.png")
    for link, folder in (("x", "other"), ("y", "album/more"), ("z", "album"), ("up", "."), ("gone", "nowhere")):
        (tmp_path / "album" / link).symlink_to(tmp_path / folder)
    errors: list[OSError] = []
    photos = list_photos(tmp_path / "album", errors.append)
    assert photos == [tmp_path / "album" / "a.png", tmp_path / "album" / "more" / "b.png"]
    assert sorted(error.filename for error in errors) == [str(tmp_path / "album" / link) for link in ("up", "x")]
    assert {error.strerror for error in errors} == {LINK}
