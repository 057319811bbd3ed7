"""Attention maps in files: for each caption, a picture and a JSON file with the weights."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePath
from typing import NamedTuple

from captioner.data.corpus import Corpus
from captioner.errors import CaptionerError, UsageError
from captioner.images.attention_picture import Picture, draw, open_picture, to_png
from captioner.images.photo import ATTENTION_PICTURE, is_photo_suffix
from captioner.inference.caption import Attention, Caption
from captioner.preparation.find_photos import find_below
from captioner.storage.atomic import stale_temporary_files, temporary_stem, write_atomically, writing
from captioner.storage.files import check_images_folder, read_text
from captioner.text.strict_json import to_json

MAX_STEM = 150
"""The longest name of an image that names its files, in bytes: file systems allow 255, with a digest and a suffix."""
SUFFIXES = (ATTENTION_PICTURE, ".attention.json")
"""Distinct from the usual names of photographs, so that `overwrite` does not replace them."""
UNSAFE = frozenset('/\\:*?"<>|')
RESERVED = frozenset(("con", "prn", "aux", "nul", *(f"{device}{n}" for device in ("com", "lpt") for n in range(10))))
"""Names of devices on Windows, with any suffix."""


def check_folder(folder: Path) -> None:
    """Check that files can be written to a folder, which is created with the first file.

    Raises: UsageError if it is a file.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise UsageError(f"{folder}: expected a folder for attention maps, got a file; name another folder")


def photograph(number: int, caption: Caption) -> Picture:
    """Return the photograph of a caption."""
    return Path(caption.image)


def no_picture(number: int, caption: Caption) -> Picture:
    """Return None: the image of a row of features is unknown."""
    return None


def pictures_of_split(corpus: Corpus, name: str, images: Path | None) -> Callable[[int], Picture]:
    """Return a function that finds the picture of an image of a split by its row.

    Generated scenes have pictures. Photographs are read only from the folder `images`, as by `data show`.

    Raises: UsageError if there is no such folder.
    """
    check_images_folder(images)
    split = corpus.split(name)
    if split.picture is not None:
        return split.picture
    names = [one for each in corpus.splits.values() for one in each.image_ids]
    found = {} if images is None else find_below(images, names)
    return lambda row: found.get(split.image_ids[row])


def split_pictures(corpus: Corpus, name: str, images: Path | None) -> Callable[[int, Caption], Picture]:
    """Return a function that finds the picture of a caption, for the captions of a split in file order.

    Raises: as `pictures_of_split`.
    """
    find = pictures_of_split(corpus, name, images)
    return lambda number, caption: find(number)


class MapFiles(NamedTuple):
    """The files of one caption."""

    picture: Path
    weights: Path


class AttentionFiles:
    """Writes the attention maps of captions to a folder, which is created; existing files are kept unless `overwrite`.

    `find_picture(number, caption)` returns the picture of a caption; captions are numbered from 0. `encoder` is the
    identity of the encoder whose regions they are.
    """

    def __init__(
        self, folder: Path, find_picture: Callable[[int, Caption], Picture], encoder: str, overwrite: bool = False
    ) -> None:
        self.folder, self.encoder, self.overwrite = folder, encoder, overwrite
        self.kept = self.without_picture = 0
        """The numbers of captions whose files existed and were kept, and whose files have no picture of the image."""
        self._find_picture = find_picture
        self._captions = 0
        self._failed = False
        self._names: dict[str, str] = {}
        self._own: dict[str, MapFiles] = {}
        self._stale = cache(stale_temporary_files)

    @property
    def written(self) -> int:
        """The number of captions whose files were written."""
        return len(self._own)

    def write(self, caption: Caption) -> MapFiles | None:
        """Write the files of a caption with attention; None if they were kept, or after a failure.

        Raises: CaptionerError for the first file that cannot be written; later files are not tried.
        """
        assert caption.attention is not None
        number, self._captions = self._captions, self._captions + 1
        if self._failed:
            return None
        if caption.image in self._own:  # a photograph may be given twice
            return self._own[caption.image]
        stem = self._stem(caption.image)
        files = MapFiles(*(self.folder / f"{stem}{suffix}" for suffix in SUFFIXES))
        for file in files:
            for stale in self._stale(self.folder).pop(temporary_stem(file), ()):
                with suppress(OSError):
                    stale.unlink()
        if not self.overwrite and any(map(os.path.lexists, files)):
            self.kept += 1
            return None
        contents = self._draw(number, caption, caption.attention), self._describe(caption, caption.attention)
        for file, content in zip(files, contents, strict=True):
            try:
                with writing(file):
                    self.folder.mkdir(parents=True, exist_ok=True)
                    write_atomically(file, (content,))
            except CaptionerError as error:
                self._failed = True
                raise CaptionerError(f"{error}; no further attention maps are written") from error
        self._own[caption.image] = files
        return files

    def _draw(self, number: int, caption: Caption, attention: Attention) -> bytes:
        image = open_picture(self._find_picture(number, caption))
        self.without_picture += image is None
        return to_png(draw(image, caption.text, attention.words, attention.maps, attention.sentinel))

    def _describe(self, caption: Caption, attention: Attention) -> bytes:
        weights = attention.record()
        record = {
            "image": caption.image,
            "caption": caption.text,
            "words": weights.pop("words"),
            "encoder": self.encoder,
            **weights,
        }
        return f"{to_json(record)}\n".encode()

    def _stem(self, image: str) -> str:
        """Return a file name for an image: its name, with a digest if that is unsafe or belongs to another image."""
        name = PurePath(image).name
        if is_photo_suffix(PurePath(name).suffix):
            name = PurePath(name).stem
        stem = "".join("_" if c in UNSAFE or not c.isprintable() else c for c in name).strip(". ")
        stem = stem.encode()[:MAX_STEM].decode(errors="ignore")
        is_safe = stem == name and stem.partition(".")[0].casefold() not in RESERVED
        digest = hashlib.sha256(image.encode("utf-8", "surrogateescape")).hexdigest()
        for candidate in (*([stem] if is_safe else []), *(f"{stem}-{digest[:length]}" for length in (8, 64))):
            key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", candidate).casefold())
            if self._names.setdefault(key, self._image_of(candidate) or image) == image:
                break
        return candidate

    def _image_of(self, stem: str) -> str | None:
        """Return the image that existing files of this name belong to; None if unknown."""
        try:
            record = json.loads(read_text(self.folder / f"{stem}{SUFFIXES[1]}"))
        except (CaptionerError, ValueError, RecursionError):
            return None
        return record["image"] if isinstance(record, dict) and isinstance(record.get("image"), str) else None
