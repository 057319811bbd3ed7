"""Safe decoding of photographs to upright RGB images; HEIC with the optional library pillow-heif."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import re
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from captioner.errors import DataError, install_command
from captioner.images.structure import SUFFIXES, CountedReader, StructureError, check_structure
from captioner.parallel.memory import Budget
from captioner.storage.files import format_of, read_bytes

Image.init()
# glibc keeps freed blocks of up to 32 MiB for each thread; larger ones are returned to the system
Image.core.set_block_size(1 << 26)  # type: ignore[attr-defined]
# a decoder's log messages and warnings do not name the photograph; a change of the filters for each photograph would
# need a lock, since threads share them
logging.getLogger("PIL").addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", module=r"PIL\.")
FORMATS = tuple(name for name in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "PPM") if name in Image.OPEN)
"""Allowed formats; other formats of Pillow are excluded, as one of them starts Ghostscript."""
PILLOW_HEIF = (1, 4)
"""The version of pillow-heif from which on no more pixels are decoded than the header declares."""
_HEIC_BRAND = re.compile(rb".{4}ftyp(?:hei|hev|mif1|msf1)", re.DOTALL)
BYTES = 1 << 30
PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485
"""Maximum number of pixels, above which Pillow warns of a decompression bomb."""
MAX_ROWS = 1 << 20
"""Maximum height: Pillow needs a pointer for each row, which is more memory than a row of a few pixels."""
PYTHON_PIXELS, PYTHON_WIDTH = 1 << 22, 1 << 16
"""Maximum size of images that Pillow decodes in Python: PPM with unusual maxima or as text, and BMP in runs."""
MAX_READS = 20_000
"""Reads of Pillow while it opens a photograph: it reads at least once per chunk, block, tag or character."""
LOADING_READS = 500_000
"""Reads of Pillow while it decodes, such as one for each chunk of a PNG; in Python, one per pixel or two per run."""
LINK = "it is a link to a folder elsewhere, which is not followed; name that folder too"
WHITE = (255, 255, 255, 255)
WHITE_IS_ZERO = 0
"""Photometric interpretation of a TIFF; Pillow inverts such images of up to 8 bits, but not of 16."""
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

_budget = Budget(PIXELS)
"""Pixels that all threads decode at one time."""


class PixelLimitError(DataError):
    """A photograph with too many pixels."""

    @classmethod
    def of(cls, name: str, limit: int) -> Self:
        """Return the error of the photograph `name`; unlike a constructor of two arguments, it can be pickled."""
        return cls(f"{name}: expected at most {limit:,} pixels; make the photograph smaller")


def read_photo(path: str | os.PathLike[str], min_side: int) -> Image.Image:
    """Read and decode a photograph, as `decoded`. Raises: DataError."""
    with decoded(read_bytes(path, BYTES, expected="a photograph"), os.fspath(path), min_side) as photo:
        return photo


@contextmanager
def decoded(
    content: bytes, name: str, min_side: int, limit: int = PIXELS, budget: Budget | None = None
) -> Iterator[Image.Image]:
    """Decode a photograph: apply the EXIF orientation, put it on white, use the first frame of an animation.

    A JPEG may be decoded at a reduced size, with sides of at least 2 `min_side`.

    The photograph is used in a `with` block, which should be short. The photographs of all blocks with the same
    `budget` have at most its total of pixels, by default `PIXELS`: a thread waits for the others, which bounds the
    memory of many threads.

    Raises: DataError if the content is not a complete photograph of a supported format; PixelLimitError if it has more
    than `limit` pixels.
    """
    with _converting_errors(content, name, limit):
        photo, pixels = _open(content, name, min_side, limit)
    with (budget or _budget).reserve(pixels):
        with _converting_errors(content, name, limit), photo:
            photo.load()
            upright_photo = upright(rgb(photo), photo)
        del photo  # its memory is not needed in the block
        yield upright_photo


def _open(content: bytes, name: str, min_side: int, limit: int) -> tuple[Image.Image, int]:
    """Read the header of a photograph, choose the reduced size of a JPEG, and return the pixels to keep in memory."""
    structure = check_structure(content)
    reader = CountedReader(content, MAX_READS)
    photo = Image.open(reader, formats=FORMATS + _heic_formats(content, name))
    width, height = photo.size
    in_python = any(tile.codec_name in Image.DECODERS for tile in photo.tile)
    if in_python and (width * height > PYTHON_PIXELS or width > PYTHON_WIDTH):
        raise DataError(
            f"{name}: expected at most {PYTHON_PIXELS:,} pixels in this variant of {photo.format}; save it as PNG"
        )
    if width * height > limit:
        raise PixelLimitError.of(name, limit)
    if height > MAX_ROWS:
        raise DataError(f"{name}: expected at most {MAX_ROWS:,} rows of pixels, got {height:,}")
    structure.check_size(width, height, photo.format == "AVIF")
    if photo.format in ("JPEG", "MPO") and width * height > 512 * len(content):  # a block has 64 pixels and >= 1 bit
        raise DataError(f"{name}: damaged or truncated: too few data for {width:,} x {height:,} pixels; try a new copy")
    if photo.mode == "F" or (photo.mode == "I" and photo.format != "PPM"):
        kind = "floating point" if photo.mode == "F" else "signed or 32-bit numbers"
        raise DataError(f"{name}: expected 8 or 16 bits per pixel, got {kind}; save it as PNG or JPEG")
    reader.reads = LOADING_READS * (6 if photo.format == "BMP" else 9) if in_python else LOADING_READS
    photo.draft("RGB", (2 * min_side, 2 * min_side))
    if structure.scans == 1 and "progressive" not in photo.info:  # others are decoded at full size and then reduced
        width, height = photo.size
    return photo, width * height


@contextmanager
def _converting_errors(content: bytes, name: str, limit: int) -> Iterator[None]:
    """Convert every exception of a decoder to a DataError that names the photograph.

    Its cause has no traceback, whose frames would keep the memory of the photograph as long as the error.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # decoders raise any kind
        raise _problem(error, content, name, limit) from error.with_traceback(None)


def _problem(error: Exception, content: bytes, name: str, limit: int) -> DataError:
    match error:
        case StructureError():
            return DataError(f"{name}: {error}; save it again")
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():  # an error by the filters of a program
            return PixelLimitError.of(name, limit)
        case MemoryError():
            return DataError(f"{name}: not enough memory to read this photograph")
        case UnidentifiedImageError() if not is_heic(content):
            return DataError(f"{name}: expected a photograph ({', '.join(FORMATS)}), got {format_of(content)}")
        case UnidentifiedImageError() if can_read_heic():
            return DataError(f"{name}: damaged or truncated: cannot be read as HEIC; try a new copy")
        case UnidentifiedImageError():
            return DataError(f"{name}: expected a photograph of another format, got HEIC; {heic_remedy()}")
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{name}: damaged or truncated: {reason:.100}; try a new copy")


def rgb(photo: Image.Image) -> Image.Image:
    """Convert a loaded image of any mode but F to 8-bit RGB; of mode I, only if its maximum is 65,535."""
    if photo.mode.startswith("I"):  # convert() would clip at 255
        tags = getattr(photo, "tag_v2", {})
        most = 2 ** tags.get(ExifTags.Base.BitsPerSample, (16,))[0] - 1
        values = np.asarray(photo).astype(np.uint32)
        if tags.get(ExifTags.Base.PhotometricInterpretation) == WHITE_IS_ZERO:
            values = most - values
        return Image.fromarray((values * 255 // most).astype(np.uint8)).convert("RGB")
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


def list_photos(folder: Path, unread: Callable[[OSError], object], suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """List the photographs in a folder and its subfolders, sorted, without hidden files and pictures of attention.

    `unread` is called with the error of each folder that cannot be read, and of each link to a folder elsewhere: it
    could lead to the whole disk. `suffixes` are by default those of the formats that Pillow reads.
    """
    photos: list[Path] = []
    inside = os.path.join(os.path.realpath(folder), "")
    for where, folders, names in os.walk(folder, onerror=unread):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for link in filter(os.path.islink, (os.path.join(where, name) for name in folders)):
            if not os.path.join(os.path.realpath(link), "").startswith(inside):
                unread(OSError(errno.ELOOP, LINK, link))
        photos += [
            Path(where, name) for name in names if Path(name).suffix.lower() in suffixes and not name.startswith(".")
        ]
    return sorted(photos)


def is_heic(content: bytes) -> bool:
    """Return whether a file begins like HEIC; an AVIF file may begin in the same way."""
    return _HEIC_BRAND.match(content) is not None


def can_read_heic() -> bool:
    """Return whether pillow-heif is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def _heic_formats(content: bytes, name: str) -> tuple[str, ...]:
    """Return the formats of Pillow, in addition to its own, that may read the photograph `name`.

    Raises: DataError when pillow-heif is installed, but cannot be imported or is too old.
    """
    if not is_heic(content) or not can_read_heic():
        return ()
    try:
        version = _register_heif()
    except ImportError as error:
        raise DataError(
            f"{name}: needs pillow-heif, which cannot be imported ({error}); {heic_remedy('--upgrade')}"
        ) from error
    if tuple(map(int, version.split(".")[:2])) < PILLOW_HEIF:
        needed = ".".join(map(str, PILLOW_HEIF))
        raise DataError(f"{name}: needs pillow-heif {needed} or later, got {version}; {heic_remedy('--upgrade')}")
    return ("HEIF",)


def heic_remedy(*options: str) -> str:
    """Return what to try if pillow-heif is missing, with options of the install command."""
    return f"try {install_command('heic', *options)}, or convert it to JPEG"


@cache
def _register_heif() -> str:
    """Register the format, and return the version of pillow-heif.

    Each photograph is decoded by one thread, since several are decoded at a time.
    """
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False, decode_threads=1)
    return str(pillow_heif.__version__)
