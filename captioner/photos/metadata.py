"""Metadata for photo managers: sidecars beside photographs, and a table that exiftool merges into existing metadata.

A photograph photo.jpg has the sidecar photo.jpg.xmp (xmp) or photo.xmp (lightroom).
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from xml.sax.saxutils import escape

from captioner.captioning.caption import UNCERTAIN
from captioner.errors import CaptionerError
from captioner.files.atomic import stale_temporary_files, temporary_stem, write_atomically, write_file, writing
from captioner.files.user_files import read_start
from captioner.photos.album import Album, Entry

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


SIDECARS: Mapping[str, Callable[[Path], Path]] = {
    "xmp": lambda photo: photo.with_name(f"{photo.name}.xmp"),  # as in darktable, digiKam and Immich
    "lightroom": lambda photo: photo.with_suffix(".xmp"),  # also as in Capture One
}
"""The paths of the XMP sidecars of --write by its value, which is no file."""


def write_sidecars(name: str, album: Album, photos: Iterable[Path] | None) -> Iterator[CaptionerError | str]:
    """Write a sidecar for each photograph; yield what could not be written, and at the end what was.

    One that captioner wrote and nobody changed is replaced, others are kept and named. Of an uncertain caption, the
    keywords alone are written, as a sidecar has no place for the mark.
    """
    path_of, known, written = SIDECARS[name], album.exports(), dict[Path, str | None]()
    owners, failed, foreign, uncertain = dict[Path, Path](), set[Path](), list[str](), 0
    stale = cache(stale_temporary_files)  # a folder of photographs may be large: list it once
    try:
        for entry in album.entries(photos):
            path = path_of(entry.path)
            if path == entry.path or owners.setdefault(path, entry.path) != entry.path:
                same = "is the photograph itself" if path == entry.path else f"is the sidecar of {owners[path]} too"
                yield CaptionerError(f"{path}: {same}; rename {entry.path}")
            elif path.parent not in failed:
                for left in stale(path.parent).pop(temporary_stem(path), ()):
                    with suppress(OSError):
                        left.unlink()
                is_certain, words = UNCERTAIN not in entry.caption.marks, [each.word for each in entry.caption.keywords]
                content = to_xmp(entry.caption.text if is_certain else "", words).encode()
                digest, found = hashlib.sha256(content).hexdigest(), _digest(path)
                if found not in (None, digest, known.get(path)):
                    foreign.append(str(path))
                    continue
                uncertain += not is_certain
                try:
                    if found != digest:
                        with writing(path):  # a file beside it could be the sidecar of another photograph
                            write_atomically(path, content, partial(_is_own, path, known.get(path)), beside=False)
                    written[path] = digest
                except CaptionerError as error:
                    if isinstance(error.__cause__, OSError) and error.__cause__.errno in FOLDER_ERRORS:
                        failed.add(path.parent)
                        error = CaptionerError(f"{error}; no further sidecars are written to this folder")
                    yield error
    finally:
        with album.transaction():
            for file, sha256 in written.items():
                album.exported(file, sha256)
    if foreign:
        names = ", ".join([*foreign[:3], "..."] if len(foreign) > 3 else foreign)
        yield (
            f"files that captioner did not write, or that were changed since, kept: {len(foreign):,} ({names}); "
            "exiftool adds captions and keywords to them: --write exiftool.csv; delete one to have it written anew"
        )
    why = f"; {uncertain:,} of them with keywords alone, as the caption is uncertain" if uncertain else ""
    yield f"{len(written):,} {name} sidecar{'s' * (len(written) != 1)}{why}"


def _is_own(path: Path, digest: str | None) -> bool:
    return _digest(path) == digest


def _digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, None without one, and "" for what cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return "" if os.path.islink(path) else None
    except OSError:
        return ""


_EXIFTOOL_HEADER = (
    b'"SourceFile","XMP-dc:Description","XMP-dc:Subject","XMP-digiKam:TagsList","XMP-lr:HierarchicalSubject"\r\n'
)


def write_exiftool_table(path: Path, entries: Iterable[Entry]) -> str:
    """Write a table that exiftool merges into photographs and their XMP sidecars, and return what was written.

    The name of a photograph is relative to the folder of the table. There is a row for the photograph and for each of
    its XMP sidecars, unless another photograph has the same one; exiftool changes the files that it is called with.
    Keywords are separated by ", ". An uncertain caption is an empty cell, which exiftool ignores. There is no byte
    order mark, which exiftool refuses before a quoted name, and no apostrophe before a formula: it would become part of
    the caption. Names start with "./", so that none is a formula.

    Raises: CaptionerError if it cannot be written; an existing file is then unchanged.
    """
    folder, cells, count = os.path.realpath(path.parent), dict[str, Sequence[str]](), 0
    for entry in entries:
        count += 1
        caption = "" if UNCERTAIN in entry.caption.marks else _plain(entry.caption.text)
        keywords = ", ".join(_plain(keyword.word) for keyword in entry.caption.keywords)
        photo = Path(os.path.relpath(entry.path, folder))
        for place in dict.fromkeys((str(photo), *(str(path_of(photo)) for path_of in SIDECARS.values()))):
            cells[place] = () if place in cells else (os.path.join(".", place), caption, *[keywords] * 3)
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(filter(None, cells.values()))
    content = _EXIFTOOL_HEADER + text.getvalue().encode(errors="surrogateescape")
    write_file(path, content, partial(is_exiftool_table, path))
    return f"{path}: {count:,} photograph{'s' * (count != 1)}, for exiftool"


def is_exiftool_table(path: str | os.PathLike[str]) -> bool:
    """Return whether a file starts as captioner writes the table for exiftool."""
    return read_start(path, len(_EXIFTOOL_HEADER)) == _EXIFTOOL_HEADER
