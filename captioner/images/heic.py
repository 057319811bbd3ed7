"""HEIC photographs, which Pillow reads with the optional library pillow-heif."""

from __future__ import annotations

import importlib.util
import re
from functools import cache

from captioner.errors import DataError
from captioner.extras import install_command

SUFFIXES = frozenset((".heic", ".heif", ".hif"))
MINIMUM = (1, 4)
"""The version of pillow-heif from which on no more pixels are decoded than the header declares."""
_BRAND = re.compile(rb".{4}ftyp(?:hei|hev|mif1|msf1)", re.DOTALL)


def is_heic(content: bytes) -> bool:
    """Return whether a file begins like HEIC; an AVIF file may begin in the same way."""
    return _BRAND.match(content) is not None


def is_installed() -> bool:
    """Return whether pillow-heif is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def formats(content: bytes, name: str) -> tuple[str, ...]:
    """Return the formats of Pillow, in addition to its own, that may read the photograph `name`.

    Raises: DataError when pillow-heif is installed, but cannot be imported or is too old.
    """
    if not is_heic(content) or not is_installed():
        return ()
    try:
        version = _register()
    except ImportError as error:
        raise DataError(
            f"{name}: needs pillow-heif, which cannot be imported ({error}); {remedy('--upgrade')}"
        ) from error
    if tuple(map(int, version.split(".")[:2])) < MINIMUM:
        needed = ".".join(map(str, MINIMUM))
        raise DataError(f"{name}: needs pillow-heif {needed} or later, got {version}; {remedy('--upgrade')}")
    return ("HEIF",)


def problem() -> str:
    """Return the problem of a HEIC file that could not be read."""
    if is_installed():
        return "damaged or truncated: cannot be read as HEIC; try a new copy"
    return f"expected a photograph of another format, got HEIC; {remedy()}"


def remedy(*options: str) -> str:
    """Return what to try if pillow-heif is missing, with options of the install command."""
    return f"try {install_command('heic', *options)}, or convert it to JPEG"


@cache
def _register() -> str:
    """Register the format, and return the version of pillow-heif.

    Each photograph is decoded by one thread, since several are decoded at a time.
    """
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False, decode_threads=1)
    return str(pillow_heif.__version__)
