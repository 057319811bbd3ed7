"""Files of captions: a table, JSON lines, and sidecars beside photographs (photo.jpg -> photo.txt, photo.jpg.xmp)."""

from __future__ import annotations

import csv
import errno
import io
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol
from xml.sax.saxutils import escape

from captioner.captioning.caption import UNCERTAIN, Caption, to_record
from captioner.errors import CaptionerError
from captioner.files.atomic import stale_temporary_files, temporary_stem, write_atomically, write_file, writing
from captioner.files.user_files import check_output, is_text, read_start, to_json

COLUMNS: Mapping[str, Callable[[Caption], str | float]] = {
    "image": lambda caption: caption.image,
    "caption": lambda caption: caption.text,
    "log_prob": lambda caption: round(caption.log_prob, 4),
    "familiarity": lambda caption: "" if caption.familiarity is None else round(caption.familiarity, 1),
    "similarity": lambda caption: "" if caption.similarity is None else round(caption.similarity, 4),
    "marks": lambda caption: ", ".join(caption.marks),
    "keywords": lambda caption: ", ".join(keyword.word for keyword in caption.keywords),
    "labels": lambda caption: ", ".join(label.name for label in caption.labels),
}
"""The columns of a table of captions."""
_FORMULA = r"(?:\A(?={0}'*[\t\r\n])|(?:\A|(?<=[;\t\r\n]))(?={0}'* *[=+\-@\uff1d\uff0b\uff0d\uff20]))"
"""A place in a cell where a spreadsheet may see a formula: its start, or after the separator of another language."""
_UNESCAPED, _ESCAPED = re.compile(_FORMULA.format("")), re.compile(_FORMULA.format("'") + "'")
_XMP = """<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="captioner">
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">%s</rdf:li></rdf:Alt></dc:description>%s
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
_KEYWORDS, _KEYWORD = "\n   <dc:subject><rdf:Bag>%s</rdf:Bag></dc:subject>", "<rdf:li>%s</rdf:li>"
_OF_CAPTIONER = re.compile(
    (re.escape(_XMP) % ("[^<]*", f"(?:{re.escape(_KEYWORDS) % f'(?:{_KEYWORD})+'})?" % "[^<]*")).encode()
)
"""A sidecar as `to_xmp` writes it. Programs that edit it add elements, so that it is theirs."""
MAX_START = 1 << 16
"""Bytes of a file that its kind is recognized by."""
_NOT_IN_XML = re.compile("[^ -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Control characters, surrogates and characters that XML 1.0 excludes."""
FOLDER_ERRORS = frozenset((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOENT))
"""Errors that all files of a folder have."""
KEPT = "already, not replaced; --overwrite replaces existing files"


class CaptionSink(Protocol):
    """Files that captions are written to."""

    has_attention: bool
    """Whether the attention of captions is always written; otherwise it is only if `caption.attention` is set."""

    def write(self, caption: Caption) -> None:
        """Write a caption. Raises: CaptionerError when it cannot be written; others may follow."""

    def finish(self) -> tuple[str, str]:
        """Complete the files; return which existing files were kept, and what was written, if that is to be reported.

        Raises: CaptionerError when a file cannot be written.
        """


def csv_line(cells: Iterable[str | float]) -> str:
    """Return a line of a table, without cells that a spreadsheet would execute.

    Text cells are quoted. In one that a spreadsheet would read as a formula, an apostrophe precedes it, which
    `unescape_cell` removes.

    Source: OWASP, CSV Injection.
    """
    text = io.StringIO()
    escaped = [_UNESCAPED.sub("'", cell) if isinstance(cell, str) else cell for cell in cells]
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC).writerow(escaped)
    return text.getvalue()


def unescape_cell(cell: str) -> str:
    """Return the text of a cell of `csv_line`."""
    return _ESCAPED.sub("", cell)


class FileKind(NamedTuple):
    """A kind of file with an entry for each caption.

    `start` matches the start of such a file; it contains `log_prob`, which files of references do not have.
    """

    name: str
    start: re.Pattern[bytes]
    entry: Callable[[Caption], str]
    header: str = ""
    encoding: str = "utf-8"


FILES: Mapping[str, FileKind] = {
    ".csv": FileKind(
        "a table of captions with their log_prob",
        re.compile(rb'(?:\xef\xbb\xbf)?"?image"?([,;\t])"?caption"?\1"?log_prob\b'),  # also saved by a spreadsheet
        lambda caption: csv_line(column(caption) for column in COLUMNS.values()),
        csv_line(COLUMNS),
        "utf-8-sig",  # with the byte order mark that Excel needs
    ),
    ".jsonl": FileKind(
        "JSON lines of captions with their log_prob",
        re.compile(rb'\{"image": "(?:[^"\\]|\\.)*", "caption": "(?:[^"\\]|\\.)*", "log_prob": '),
        lambda caption: f"{to_json(to_record(caption))}\n",
    ),
}
"""The files of --write by their suffix."""


def starts_as(pattern: re.Pattern[bytes], path: str | os.PathLike[str]) -> bool:
    """Return whether a file is empty or its start matches a pattern; False if it cannot be read."""
    start = read_start(path, MAX_START)
    return start is not None and (start == b"" or pattern.match(start) is not None)


class CaptionFile:
    """A file with an entry for each image, written when it is complete. An image that is captioned twice has one entry.

    Raises: UsageError when the file cannot be written, or the one to replace is of another kind.
    """

    has_attention = False

    def __init__(self, path: Path, kind: FileKind, overwrite: bool = False) -> None:
        check_output(path, overwrite, kind.name, lambda file: starts_as(kind.start, file))
        self.path, self.kind = path, kind
        self._entries: dict[str, str] = {}

    def write(self, caption: Caption) -> None:
        self._entries[caption.image] = self.kind.entry(caption)

    def finish(self) -> tuple[str, str]:
        """Write the file; return that none was kept, and what was written. Raises: CaptionerError."""
        content = self.kind.header + "".join(self._entries.values())
        write_file(self.path, content.encode(self.kind.encoding, "backslashreplace"))
        count = len(self._entries)
        return "", f"{self.path}: {count:,} caption{'s' * (count != 1)} written"


def to_xmp(caption: str, keywords: Iterable[str] = ()) -> str:
    """Return an XMP packet with a caption (dc:description) and keywords (dc:subject), without control characters.

    Source: ISO 16684-1 (XMP), section 8.3.
    """
    items = "".join(_KEYWORD % _xml_text(keyword) for keyword in keywords)
    return _XMP % (_xml_text(caption), items and _KEYWORDS % items)


def _xml_text(text: str) -> str:
    return escape(" ".join(_NOT_IN_XML.sub(" ", text).split()))


def is_own_xmp(path: Path) -> bool:
    """Return whether a sidecar is as captioner wrote it."""
    return _OF_CAPTIONER.fullmatch(read_start(path, MAX_START) or b"") is not None


class SidecarKind(NamedTuple):
    """A kind of file beside each photograph; `is_replaceable` returns whether an existing file may be replaced."""

    path: Callable[[Path], Path]
    content: Callable[[Caption], str]
    is_replaceable: Callable[[Path], bool] = lambda path: is_text(read_start(path, 512) or b"")


SIDECARS: Mapping[str, SidecarKind] = {
    "xmp": SidecarKind(  # named as in darktable and digiKam
        lambda photo: photo.with_name(f"{photo.name}.xmp"),
        lambda caption: to_xmp(caption.text, (keyword.word for keyword in caption.keywords)),
        is_own_xmp,
    ),
    "txt": SidecarKind(lambda photo: photo.with_suffix(".txt"), lambda caption: f"{caption.text}\n"),
}
"""The sidecars of --write by its value, which is no file."""


class Sidecars:
    """Writes one file per photograph. An existing file is kept unless `overwrite` is set.

    Captions that are marked as uncertain are not written: a sidecar has no place for the mark.
    """

    has_attention = False

    def __init__(self, name: str, overwrite: bool = False) -> None:
        self.name, self.kind, self.overwrite = name, SIDECARS[name], overwrite
        self.uncertain = 0
        """The number of captions that were not written because they are uncertain."""
        self.earlier = 0
        """The number of those whose photograph has a sidecar from before."""
        self.kept = 0
        """The number of existing files that were kept."""
        self.foreign = 0
        """The number of those that were kept because another program wrote or edited them."""
        self._failed: set[Path] = set()
        self._written: set[str] = set()
        self._owners: dict[str, str] = {}
        self._stale = cache(stale_temporary_files)  # a folder of photographs may be large: list it once

    def write(self, caption: Caption) -> None:
        """Write the caption of a photograph, if it is certain; not in a folder where a file could not be written.

        Raises: CaptionerError when another photograph has the same sidecar, or the file cannot be written.
        """
        photo = Path(caption.image)
        path = self.kind.path(photo)
        if UNCERTAIN in caption.marks:
            self.uncertain, self.earlier = self.uncertain + 1, self.earlier + os.path.lexists(path)
            return
        if path == photo:
            raise CaptionerError(f"{path}: is the photograph itself; rename it")
        place = os.path.join(os.path.realpath(path.parent), path.name)
        owner = self._owners.setdefault(place, caption.image)
        if os.path.realpath(owner) != os.path.realpath(photo):
            raise CaptionerError(f"{path}: {owner} and {photo} have the same sidecar; rename one of the photographs")
        if path.parent in self._failed:
            return
        for stale in self._stale(path.parent).pop(temporary_stem(path), ()):
            with suppress(OSError):
                stale.unlink()
        if os.path.lexists(path):
            foreign = not self.kind.is_replaceable(path)
            if foreign or not self.overwrite:
                self.kept, self.foreign = self.kept + (not foreign), self.foreign + foreign
                return
        try:
            with writing(path):
                write_atomically(path, self.kind.content(caption).encode())
            self._written.add(place)
        except CaptionerError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in FOLDER_ERRORS:
                self._failed.add(path.parent)
                raise CaptionerError(f"{error}; no further sidecars are written to this folder") from error
            raise

    def finish(self) -> tuple[str, str]:
        """Return how many existing files were kept, and how many were written and not written."""
        name, count = f"{self.name} sidecar", len(self._written)
        kept = [f"{self.kept:,} {name}{'s exist' if self.kept > 1 else ' exists'} {KEPT}"] if self.kept else []
        if self.foreign:
            kept.append(f"files of other programs, not changed: {self.foreign:,}")
        written = [f"{count:,} {name}{'s' * (count != 1)} written"] if count else []
        if self.uncertain:
            captions = f"uncertain caption{'s' * (self.uncertain != 1)}"
            written.append(f"no {name} for {self.uncertain:,} {captions} (-o decode.uncertain_below=0 writes all)")
        if self.earlier:
            written.append(f"{self.earlier:,} of these have one from before, not changed")
        return "; ".join(kept), ", ".join(written)


def open_sink(path: Path, overwrite: bool = False) -> CaptionSink:
    """Return the files of --write for one of its values. Raises: UsageError, as `CaptionFile`."""
    if str(path) in SIDECARS:
        return Sidecars(str(path), overwrite)
    return CaptionFile(path, FILES[path.suffix.lower()], overwrite)
