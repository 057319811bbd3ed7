"""A photograph from a file, as upright RGB pixels, without trusting the file."""

from __future__ import annotations

import io
import os
import re
import threading
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from captioner.errors import DataError
from captioner.storage.files import read_bytes

Image.init()
FORMATS = tuple(one for one in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "PPM") if one in Image.OPEN)
"""Tried in this order, and no other: among those that Pillow knows is one that starts Ghostscript."""
SUFFIXES = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".gif",
        ".bmp",
        ".webp",
        ".tif",
        ".tiff",
        ".avif",
        ".ppm",
        ".pgm",
        ".pnm",
    )
)
UNKNOWN = frozenset((".heic", ".heif"))
"""Photographs that Pillow alone cannot read."""
_ORIGINALS = re.compile(
    r"\.(avifs|hif|jxl|jp2|j2k|jp[fx]|apng|dng|cr[23w]|nef|nrw|arw|sr[2fw]|raf|orf|rw2|pef|raw|3fr|iiq|x3f|psd|xcf|tga"
    r"|ico|svg|eps|exr|hdr)"
)
"""Suffixes of further kinds of pictures, such as cameras' raw files."""
BYTES = 1 << 30
PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485
"""A photograph may have so many; beyond them Pillow suspects that a small file was made to fill the memory."""
WHITE = (255, 255, 255, 255)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What EXIF's orientations ask for."""

_filtering = threading.Lock()


def is_photo_suffix(suffix: str) -> bool:
    """Whether files with this suffix may be photographs, readable here or not."""
    suffix = suffix.lower()
    return suffix in SUFFIXES | UNKNOWN or _ORIGINALS.fullmatch(suffix) is not None


def read_photo(path: str | os.PathLike[str], least: int) -> Image.Image:
    """The photograph in a file, as `decode` gives it.

    Raises: DataError.
    """
    return decode(read_bytes(path, BYTES), os.fspath(path), least)


def decode(content: bytes, name: str, least: int) -> Image.Image:
    """A photograph: turned as its camera says, transparent parts white, the first frame of an animation.

    A JPEG may come smaller than it is, but no side shorter than twice `least`.

    Raises: DataError when the file is not a whole photograph of a known format and a bearable size.
    """
    try:
        with _no_warnings():
            photo = Image.open(io.BytesIO(content), formats=FORMATS)
        with photo:
            photo.draft("RGB", (2 * least, 2 * least))
            photo.load()
            return upright(rgb(photo, name), photo)
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name}: expected at most {PIXELS:,} pixels; make the photograph smaller") from error
    except UnidentifiedImageError as error:
        if re.match(rb".{4}ftyp(?:hei|hev|mif1|msf1)", content, re.DOTALL):
            raise DataError(f"{name}: expected a photograph of another format, got HEIC; convert it to JPEG") from error
        known, got = ", ".join(FORMATS), f"a file that begins with {content[:12]!r}" if content else "an empty file"
        raise DataError(f"{name}: expected a photograph ({known}), got {got}") from error
    except MemoryError as error:
        raise DataError(f"{name}: not enough memory to read this photograph") from error
    except Exception as error:  # decoders let out every kind
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name}: damaged or cut short: {reason:.100}; try a fresh copy") from error


def rgb(photo: Image.Image, name: str) -> Image.Image:
    """The pixels of a loaded image of any mode as 8-bit RGB.

    Raises: DataError for numbers whose black and white nobody tells.
    """
    if photo.mode.startswith("I;16") or (photo.mode == "I" and photo.format == "PPM"):
        # convert() would cut off at 255
        bits = getattr(photo, "tag_v2", {}).get(ExifTags.Base.BitsPerSample, (16,))[0]
        values = np.asarray(photo).astype(np.uint32) * 255 // (2**bits - 1)
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if photo.mode in ("I", "F"):
        kind = "floating point" if photo.mode == "F" else "signed or 32-bit numbers"
        raise DataError(f"{name}: expected 8 or 16 bits a pixel, got {kind}; save it as PNG or JPEG")
    if photo.has_transparency_data:
        return Image.alpha_composite(Image.new("RGBA", photo.size, WHITE), photo.convert("RGBA")).convert("RGB")
    return photo.convert("RGB")


def upright(pixels: Image.Image, photo: Image.Image) -> Image.Image:
    """The pixels of a photograph, turned as its camera says."""
    try:
        with _no_warnings():
            turn = TURNS.get(photo.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever is wrong with notes about them, the pixels are whole
        return pixels
    return pixels if turn is None else pixels.transpose(turn)


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Pillow's warnings are about what readers need not know, or are errors here.

    Filters of warnings belong to all threads, and photographs are read by several.
    """
    with _filtering, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def square(photo: Image.Image, side: int) -> Image.Image:
    """The middle of a photograph: the shorter side scaled to `side` (bicubic), the longer one cut.

    A photograph of that size already is left as it is.
    """
    if photo.size == (side, side):
        return photo
    return ImageOps.fit(photo, (side, side), Image.Resampling.BICUBIC)


def photos_in(folder: Path, unread: Callable[[OSError], object], suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """The photographs in a folder and the folders below, by name; hidden files are none.

    `unread` is told of every folder that cannot be read.
    """
    found: list[Path] = []
    for where, folders, names in os.walk(folder, onerror=unread):
        folders[:] = [one for one in folders if not one.startswith(".")]
        found += [
            Path(where, name) for name in names if not name.startswith(".") and Path(name).suffix.lower() in suffixes
        ]
    return sorted(found)
