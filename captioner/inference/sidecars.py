"""Captions written beside their photographs: photo.jpg -> photo.txt."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from captioner.errors import CaptionerError, UsageError
from captioner.images.photo import is_photo_suffix
from captioner.inference.caption import Caption
from captioner.storage.atomic import stale_temporary_files, temporary_stem, write_atomically, writing

SEPARATORS = frozenset("/\\:")
"""Characters that separate parts of a path; on Windows, a colon separates the name of a data stream."""


def check_suffix(suffix: str) -> None:
    """Check the suffix of sidecar files: that of a photograph would replace photographs.

    Raises: UsageError.
    """
    if len(suffix) < 2 or not suffix.startswith(".") or set(suffix) & SEPARATORS or is_photo_suffix(suffix):
        raise UsageError(f"--write-sidecar {suffix}: expected a suffix such as .txt")


class Sidecars:
    """Writes one text file per photograph. An existing file is kept unless `overwrite` is set."""

    def __init__(self, suffix: str, overwrite: bool = False) -> None:
        self.suffix = suffix
        self.overwrite = overwrite
        self.kept = 0
        """The number of existing files that were kept."""
        self._owners: dict[str, str] = {}
        self._stale = cache(stale_temporary_files)  # a folder of photographs may be large: list it once

    def write(self, caption: Caption) -> None:
        """Write the caption of a photograph.

        Raises: CaptionerError when another photograph has the same sidecar, or the file cannot be written.
        """
        photo = Path(caption.image)
        path = photo.with_suffix(self.suffix)
        if path == photo:
            raise CaptionerError(f"{path}: is the photograph itself; try another suffix")
        place = os.path.join(os.path.realpath(path.parent), path.name)
        owner = self._owners.setdefault(place, caption.image)
        if os.path.realpath(owner) != os.path.realpath(photo):
            raise CaptionerError(f"{path}: {owner} and {photo} have the same sidecar; rename one of the photographs")
        for file in self._stale(path.parent).pop(temporary_stem(path), ()):
            with suppress(OSError):
                file.unlink()
        if os.path.lexists(path) and not self.overwrite:
            self.kept += 1
            return
        with writing(path):
            write_atomically(path, (f"{caption.text}\n".encode(),))
