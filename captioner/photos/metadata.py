"""Metadata for photo managers: sidecars beside photographs, and a table that exiftool merges into existing metadata.

A photograph photo.jpg has the sidecar photo.jpg.xmp (xmp) or photo.xmp (lightroom).
"""

from __future__ import annotations

import csv
import errno
import io
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from captioner.captioning.caption import UNCERTAIN
from captioner.data.table_cells import Description, description_of
from captioner.errors import CaptionerError
from captioner.files.atomic import (
    remove_temporary_files,
    stale_temporary_files,
    temporary_stem,
    write_atomically,
    writing,
)
from captioner.files.user_files import read_start

_XMP = """<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:digiKam="http://www.digikam.org/ns/1.0/" xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="captioner">
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">%(caption)s</rdf:li></rdf:Alt></dc:description>
   <dc:subject><rdf:Bag><rdf:li>%(keywords)s</rdf:li></rdf:Bag></dc:subject>
   <digiKam:TagsList><rdf:Seq><rdf:li>%(keywords)s</rdf:li></rdf:Seq></digiKam:TagsList>
   <lr:hierarchicalSubject><rdf:Bag><rdf:li>%(keywords)s</rdf:li></rdf:Bag></lr:hierarchicalSubject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
""".splitlines(keepends=True)
_FIELD, _NEXT_ITEM = re.compile(r"%\((\w+)\)s"), "</rdf:li><rdf:li>"
_OF_CAPTIONER = re.compile(
    "".join(re.escape(line) if "%" not in line else f"(?:{re.escape(line)})?" for line in _XMP)
    .replace(re.escape("%(caption)s"), "[^<]*")
    .replace(re.escape("%(keywords)s"), f"[^<]*(?:{_NEXT_ITEM}[^<]*)*")
    .encode()
)
"""A sidecar as `to_xmp` writes it. Programs that edit it add elements, so that it is theirs."""
MAX_SIDECAR = 1 << 16
"""Bytes of a sidecar that is recognized."""
_NOT_IN_XML = re.compile("[^ -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Control characters, surrogates and characters that XML 1.0 excludes."""
FOLDER_ERRORS = frozenset((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOENT))
"""Errors that all files of a folder have."""


def to_xmp(caption: str, keywords: Iterable[str] = ()) -> str:
    """Return an XMP packet with a caption, if it is not empty, and keywords, without control characters.

    The caption is in dc:description, the keywords are in dc:subject, digiKam:TagsList and lr:hierarchicalSubject.

    Source: ISO 16684-1 (XMP), section 8.3; the tables of ExifTool for the arrays of the other namespaces.
    """
    words = _NEXT_ITEM.join(filter(None, (escape(_plain(keyword)) for keyword in keywords)))
    fields = {"caption": escape(_plain(caption)), "keywords": words}
    return "".join(line % fields for line in _XMP if not (field := _FIELD.search(line)) or fields[field[1]])


def _plain(text: str) -> str:
    return " ".join(_NOT_IN_XML.sub(" ", text).split())


def is_own_xmp(path: Path) -> bool:
    """Return whether a sidecar is as captioner wrote it."""
    return _OF_CAPTIONER.fullmatch(read_start(path, MAX_SIDECAR) or b"") is not None


SIDECARS: Mapping[str, Callable[[Path], Path]] = {
    "xmp": lambda photo: photo.with_name(f"{photo.name}.xmp"),  # as in darktable, digiKam and Immich
    "lightroom": lambda photo: photo.with_suffix(".xmp"),  # also as in Capture One
}
"""The paths of the XMP sidecars of --write by its value, which is no file."""


class Sidecars:
    """Writes one file per photograph. An existing file is kept unless `overwrite` is set.

    Of an uncertain caption, the keywords alone are written, as a sidecar has no place for the mark.
    """

    def __init__(self, name: str, overwrite: bool = False) -> None:
        self.name, self.path_of, self.overwrite = name, SIDECARS[name], overwrite
        self.uncertain = 0
        """The number of sidecars that were written without a caption because it is uncertain."""
        self.kept = set[str]()
        """Existing files that were kept."""
        self.foreign = dict[str, Path]()
        """Existing files that were kept because another program wrote or edited them."""
        self._failed = set[Path]()
        self._written = set[str]()
        self._owners: dict[str, Path] = {}
        self._stale = cache(stale_temporary_files)  # a folder of photographs may be large: list it once

    def lacks(self, photo: Path) -> bool:
        """Return whether the sidecar of a photograph is to be written, before the photograph is decoded.

        Raises: CaptionerError when another photograph has the same sidecar.
        """
        return self._is_free(*self._claim(photo))

    def write(self, photo: Path, description: Description, corrected: bool = False) -> None:
        """Write the sidecar of a photograph, if it lacks it; not in a folder where a file could not be written.

        A caption that a person corrected is certain, and replaces another one in an XMP sidecar of captioner.

        Raises: CaptionerError, as `lacks`, and when the file cannot be written.
        """
        path, place = self._claim(photo)
        is_certain = corrected or UNCERTAIN not in description.marks
        content = to_xmp(description.caption if is_certain else "", description.keywords).encode()
        if not self._is_free(path, place, content if corrected else None):
            return
        try:
            is_old = os.path.lexists(path)
            with writing(path):  # a file beside it could be the sidecar of another photograph
                write_atomically(path, content, lambda: is_old and is_own_xmp(path), beside=False)
        except CaptionerError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in FOLDER_ERRORS:
                self._failed.add(path.parent)
                raise CaptionerError(f"{error}; no further sidecars are written to this folder") from error
            raise
        self.uncertain += not is_certain
        self._written.add(place)
        self.kept.discard(place)

    def _claim(self, photo: Path) -> tuple[Path, str]:
        """Return the path of a sidecar, and the same path without links, as the sidecar of this photograph alone."""
        path = self.path_of(photo)
        if path == photo:
            raise CaptionerError(f"{path}: is the photograph itself; rename it")
        place = os.path.join(os.path.realpath(path.parent), path.name)
        owner = self._owners.setdefault(place, photo)
        if owner != photo and os.path.realpath(owner) != os.path.realpath(photo):
            raise CaptionerError(f"{path}: {owner} and {photo} have the same sidecar; rename one of the photographs")
        for stale in self._stale(path.parent).pop(temporary_stem(path), ()):
            with suppress(OSError):
                stale.unlink()
        return path, place

    def _is_free(self, path: Path, place: str, correction: bytes | None = None) -> bool:
        """Return whether a file may be written, and remember it if it exists already."""
        if path.parent in self._failed or place in self._written:
            return False
        if not os.path.lexists(path):
            return True
        if not is_own_xmp(path):
            self.foreign[place] = path
            return False
        if self.overwrite or (correction is not None and read_start(path, MAX_SIDECAR) != correction):
            return True
        self.kept.add(place)
        return False

    def finish(self) -> tuple[str, str]:
        """Return which existing files were kept, and how many were written and not written."""
        name, count = f"{self.name} sidecar", len(self._written)
        existing, foreign = len(self.kept), [str(path) for path in self.foreign.values()]
        exist = "s exist" if existing > 1 else " exists"
        kept = [f"{existing:,} {name}{exist} already, not replaced"] if existing else []
        if foreign:
            names = ", ".join([*foreign[:3], "..."] if len(foreign) > 3 else foreign)
            kept.append(f"files of other programs, not changed: {len(foreign):,} ({names})")
            kept.append("exiftool adds captions and keywords to them: --write exiftool.csv")
        written = [f"{count:,} {name}{'s' * (count != 1)} written"] if count else []
        if self.uncertain:
            why = "with keywords alone, as the caption is uncertain (-o decode.uncertain_below=0 writes all)"
            written.append(f"{self.uncertain:,} of them {why}")
        return "; ".join(kept), ", ".join(written)


_EXIFTOOL_HEADER = (
    b'"SourceFile","XMP-dc:Description","XMP-dc:Subject","XMP-digiKam:TagsList","XMP-lr:HierarchicalSubject"\r\n'
)


def exiftool_table(rows: Iterable[tuple[str, Description]]) -> bytes:
    """Return a table that exiftool merges into photographs and their XMP sidecars.

    The name of a photograph is relative to the folder of the table. There is a row for the photograph and for each of
    its XMP sidecars, unless another photograph has the same one; exiftool changes the files that it is called with.
    Keywords are separated by ", ". An uncertain caption is an empty cell, which exiftool ignores. There is no byte
    order mark, which exiftool refuses before a quoted name, and no apostrophe before a formula: it would become part of
    the caption. Names start with "./", so that none is a formula.
    """
    cells: dict[str, Sequence[str]] = {}
    for name, description in rows:
        caption = "" if UNCERTAIN in description.marks else _plain(description.caption)
        keywords = ", ".join(map(_plain, description.keywords))
        for path in dict.fromkeys((name, *(str(path_of(Path(name))) for path_of in SIDECARS.values()))):
            cells[path] = () if path in cells else (os.path.join(".", path), caption, *[keywords] * 3)
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(filter(None, cells.values()))
    return _EXIFTOOL_HEADER + text.getvalue().encode(errors="surrogateescape")


def write_exiftool_table(path: Path, records: Iterable[tuple[Path, Mapping[str, Any]]]) -> str:
    """Write the table for exiftool from photographs with their records, and return what was written.

    Raises: CaptionerError if it cannot be written; an existing file is then unchanged.
    """
    folder = os.path.realpath(path.parent)
    rows = [(os.path.relpath(photo, folder), description_of(record)) for photo, record in records]
    remove_temporary_files(path)
    with writing(path):
        write_atomically(path, exiftool_table(rows), partial(is_exiftool_table, path))
    return f"{path}: {len(rows):,} photograph{'s' * (len(rows) != 1)}, for exiftool"


def is_exiftool_table(path: str | os.PathLike[str]) -> bool:
    """Return whether a file starts as captioner writes the table for exiftool."""
    return read_start(path, len(_EXIFTOOL_HEADER)) == _EXIFTOOL_HEADER
