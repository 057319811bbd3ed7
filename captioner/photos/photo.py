"""Find photographs in folders, and decode them to upright RGB images; HEIC with the optional library pillow-heif."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import io
import logging
import os
import re
import warnings
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from captioner.errors import DataError, install_command
from captioner.files.user_files import format_of, read_bytes

Image.init()
# glibc keeps freed blocks of up to 32 MiB for each thread; larger ones are returned to the system
Image.core.set_block_size(1 << 26)  # type: ignore[attr-defined]
# a decoder's log messages and warnings do not name the photograph; a change of the filters for each photograph would
# need a lock, since threads share them
logging.getLogger("PIL").addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", module=r"PIL\.")
FORMATS = tuple(name for name in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "PPM") if name in Image.OPEN)
"""Allowed formats; other formats of Pillow are excluded, as one of them starts Ghostscript."""
_HEIC_BRAND = re.compile(rb".{4}ftyp(?:hei|hev|mif1|msf1)", re.DOTALL)
"""The beginning of a HEIC file; an AVIF file may begin in the same way."""
_READABLE = ("a JPEG", "a PNG", "a GIF", "a TIFF", *["a HEIC or AVIF file"] * ("AVIF" in FORMATS))
"""Texts of `format_of` for formats that Pillow reads."""
BYTES = 1 << 30
PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485
"""Maximum number of pixels, above which Pillow warns of a decompression bomb."""
PICTURE_SIDE = 224
"""The `min_side` with which a photograph is decoded for the digest of its picture."""
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
"""Transposition for each EXIF orientation."""
SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif",
    ".ppm", ".pgm", ".pnm",
))  # fmt: skip
HEIC_SUFFIXES = frozenset((".heic", ".heif", ".hif"))
RAW_SUFFIXES = frozenset((
    ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".srw", ".raf", ".orf", ".rw2", ".pef",
    ".raw", ".3fr", ".iiq", ".x3f",
))  # fmt: skip
RAW_REMEDY = "raw files are not supported; convert them to JPEG, for example with darktable-cli a.nef a.jpg"
LINK = "it is a link to a folder elsewhere, which is not followed; name that folder too"


def list_photos(folder: Path, unread: Callable[[OSError], object], suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """List the photographs in a folder and its subfolders in natural order (a2 before a10), without hidden files.

    `unread` is called with the error of each folder that cannot be read, and of each link to a folder elsewhere: it
    could lead to the whole disk. `suffixes` are by default those of the formats that Pillow reads.
    """
    photos: list[tuple[list[list[int | str]], Path]] = []
    inside = os.path.join(os.path.realpath(folder), "")
    for where, folders, names in os.walk(folder, onerror=unread):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for link in filter(os.path.islink, (os.path.join(where, name) for name in folders)):
            if not os.path.join(os.path.realpath(link), "").startswith(inside):
                unread(OSError(errno.ELOOP, LINK, link))
        first = [_natural(part) for part in Path(where).parts]  # shared by the photographs of a folder
        photos += [
            ([*first, _natural(name)], Path(where, name))
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes
        ]
    return [photo for _, photo in sorted(photos)]


def _natural(part: str) -> list[int | str]:
    """Return the key of a part of a path in natural order."""
    return [int(token) if token.isdecimal() else token for token in re.split(r"(\d+)", part)]


def read_photo(path: str | os.PathLike[str], min_side: int) -> Image.Image:
    """Read and decode a photograph, as `decode_photo`. Raises: DataError."""
    return decode_photo(read_bytes(path, BYTES, expected="a photograph"), os.fspath(path), min_side)


def decode_photo(content: bytes, name: str, min_side: int) -> Image.Image:
    """Decode a photograph: apply the EXIF orientation, put it on white, use the first frame of an animation.

    A JPEG may be decoded at a reduced size, with sides of at least 2 `min_side`.

    Raises: DataError if the content is not a complete photograph of a supported format, or has more than `PIXELS`.
    """
    return _try(content, name, min_side)[0]


def decode_picture(content: bytes, name: str, min_side: int) -> tuple[Image.Image, bytes]:
    """Decode a photograph, as `decode_photo`, and return it with the digest of its picture.

    The digest is that of the decoded pixels before the EXIF orientation is applied: programs that rewrite the metadata
    of a file do not change it.

    Raises: as `decode_photo`.
    """
    photo, digest = _try(content, name, max(min_side, PICTURE_SIDE))
    return photo, digest if min_side <= PICTURE_SIDE else _try(content, name, PICTURE_SIDE)[1]


def _try(content: bytes, name: str, min_side: int) -> tuple[Image.Image, bytes]:
    """Return a photograph and the digest of its picture. Raises: as `decode_photo`."""
    try:
        return _decode(content, name, min_side)
    except DataError:
        raise
    except Exception as error:  # decoders raise any kind
        # without its traceback, whose frames would keep the memory of the photograph as long as the error
        raise _problem(error, content, name) from error.with_traceback(None)


def _decode(content: bytes, name: str, min_side: int) -> tuple[Image.Image, bytes]:
    with Image.open(io.BytesIO(content), formats=FORMATS + _heic_formats(content)) as photo:
        if photo.width * photo.height > PIXELS:  # Pillow warns, and raises an error only above twice as many
            raise Image.DecompressionBombError
        if photo.mode == "F" or (photo.mode == "I" and photo.format != "PPM"):
            kind = "floating point" if photo.mode == "F" else "signed or 32-bit numbers"
            raise DataError(f"{name}: expected 8 or 16 bits per pixel, got {kind}; save it as PNG or JPEG")
        photo.draft("RGB", (2 * min_side, 2 * min_side))
        photo.load()
        pixels = rgb(photo)
        digest = hashlib.blake2b(f"{pixels.size}".encode() + pixels.tobytes(), digest_size=16).digest()
        return upright(pixels, photo), digest


def _problem(error: Exception, content: bytes, name: str) -> DataError:
    """Convert an exception of a decoder to one that names the photograph."""
    match error:
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():  # an error by the filters of a program
            return DataError(f"{name}: expected at most {PIXELS:,} pixels; make the photograph smaller")
        case MemoryError():
            return DataError(f"{name}: not enough memory to read this photograph")
        case ImportError():
            return DataError(f"{name}: needs pillow-heif, which cannot be imported ({error}); install it again")
        case _ if Path(name).suffix.lower() in RAW_SUFFIXES:
            return DataError(f"{name}: {RAW_REMEDY}")
        case UnidentifiedImageError() if not is_heic(content) and format_of(content) in _READABLE:
            return DataError(f"{name}: damaged or truncated: begins like {format_of(content)}; try a new copy")
        case UnidentifiedImageError() if not is_heic(content):
            formats = ", ".join((*FORMATS, *["HEIC"] * can_read_heic()))
            return DataError(f"{name}: expected a photograph ({formats}), got {format_of(content)}")
        case UnidentifiedImageError() if can_read_heic():
            return DataError(f"{name}: damaged or truncated: cannot be read as HEIC; try a new copy")
        case UnidentifiedImageError():
            return DataError(f"{name}: expected a photograph of another format, got HEIC; {heic_remedy()}")
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{name}: damaged or truncated: {reason:.100}; try a new copy")


def rgb(photo: Image.Image) -> Image.Image:
    """Convert a loaded image of any mode but F to 8-bit RGB; of mode I, only if its maximum is 65,535."""
    if photo.mode.startswith("I"):  # convert() would clip at 255
        return Image.fromarray((np.asarray(photo).astype(np.uint32) * 255 // 65535).astype(np.uint8)).convert("RGB")
    if photo.has_transparency_data:
        return Image.alpha_composite(Image.new("RGBA", photo.size, WHITE), photo.convert("RGBA")).convert("RGB")
    return photo.convert("RGB")


def upright(pixels: Image.Image, photo: Image.Image) -> Image.Image:
    """Apply the EXIF orientation of `photo` to `pixels`."""
    try:
        turn = TURNS.get(photo.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata does not affect the pixels
        return pixels
    return pixels if turn is None else pixels.transpose(turn)


def square(photo: Image.Image, side: int) -> Image.Image:
    """Scale the shorter side to `side` (bicubic) and crop the centre; an image of that size is unchanged."""
    if photo.size == (side, side):
        return photo
    return ImageOps.fit(photo, (side, side), Image.Resampling.BICUBIC)


def shrink(photo: Image.Image, side: int) -> Image.Image:
    """Scale the shorter side to `side` (bicubic) if it is longer; a smaller image is unchanged."""
    if min(photo.size) <= side:
        return photo
    return ImageOps.scale(photo, side / min(photo.size), Image.Resampling.BICUBIC)


def to_jpeg(photo: Image.Image, side: int) -> bytes:
    """Return a photograph as a JPEG of at most a side."""
    file = io.BytesIO()
    photo.thumbnail((side, side))
    photo.save(file, "JPEG")
    return file.getvalue()


def is_heic(content: bytes) -> bool:
    """Return whether a file begins like HEIC."""
    return _HEIC_BRAND.match(content) is not None


def _heic_formats(content: bytes) -> tuple[str, ...]:
    """Return the formats of Pillow, in addition to its own, that may read a photograph."""
    if not is_heic(content) or not can_read_heic():
        return ()
    _register_heif()
    return ("HEIF",)


@cache
def _register_heif() -> None:
    """Register the format; each photograph is decoded by one thread, since several are decoded at a time."""
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False, decode_threads=1)


def can_read_heic() -> bool:
    """Return whether pillow-heif is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def heic_remedy() -> str:
    """Return what to try if pillow-heif is missing."""
    return f"try {install_command()}, or convert it to JPEG"
