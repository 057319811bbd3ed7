"""Photographs as files, without Pillow: their suffixes, the photographs of a folder, and the library for HEIC."""

from __future__ import annotations

import errno
import importlib.util
import os
from collections.abc import Callable, Collection
from pathlib import Path

from captioner.errors import install_command

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
LINK = "it is a link to a folder elsewhere, which is not followed; name that folder too"


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


def can_read_heic() -> bool:
    """Return whether pillow-heif is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def heic_remedy(*options: str) -> str:
    """Return what to try if pillow-heif is missing, with options of the install command."""
    return f"try {install_command('heic', *options)}, or convert it to JPEG"
