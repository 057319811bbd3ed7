"""Files of captions: a table, sidecars beside photographs (photo.jpg -> photo.txt, photo.jpg.xmp), and attention."""

from __future__ import annotations

import csv
import errno
import io
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Protocol
from xml.sax.saxutils import escape

from captioner.errors import CaptionerError, UsageError
from captioner.files.atomic import stale_temporary_files, temporary_stem, write_atomically, write_file, writing
from captioner.files.user_files import check_output, read_start, to_json
from captioner.images.photo_files import is_photo_suffix
from captioner.inference.caption import Caption

SEPARATORS = frozenset("/\\:")
"""Characters that separate parts of a path; on Windows, a colon separates the name of a data stream."""
COLUMNS: Mapping[str, Callable[[Caption], str | float]] = {
    "image": lambda caption: caption.image,
    "caption": lambda caption: caption.text,
    "log_prob": lambda caption: round(caption.log_prob, 4),
    "familiarity": lambda caption: "" if caption.familiarity is None else round(caption.familiarity, 1),
    "keywords": lambda caption: ", ".join(keyword.name for keyword in caption.keywords),
}
"""The columns of a table of captions."""
_HEADER = re.compile(rb'(?:\xef\xbb\xbf)?"?image"?([,;\t])"?caption"?\1"?log_prob\b')
"""The start of a table of captions, also if a spreadsheet has saved it; a table of references has no log_prob."""
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
MAX_XMP = 1 << 16
_RECORD = b'{"encoder": '
"""The start of a file of attention weights; files of captions in JSON lines may start with "image"."""
_NOT_IN_XML = re.compile("[^ -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Control characters, surrogates and characters that XML 1.0 excludes."""
FOLDER_ERRORS = frozenset((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOENT))
"""Errors that all files of a folder have."""
KEPT = "already, not replaced; --overwrite replaces existing files"


class CaptionSink(Protocol):
    """Files that captions are written to."""

    def write(self, caption: Caption) -> None:
        """Write a caption. Raises: CaptionerError when it cannot be written; others may follow."""

    def finish(self) -> tuple[str, str]:
        """Complete the files; return which existing files were kept, and what was written, if that is to be reported.

        Raises: CaptionerError when a file cannot be written.
        """


def to_csv(captions: Iterable[Caption], header: bool = True) -> str:
    """Return the `COLUMNS` of captions as CSV, without cells that a spreadsheet would execute.

    Text cells are quoted. In one that a spreadsheet would read as a formula, an apostrophe precedes it, which
    `unescape_cell` removes.

    Source: OWASP, CSV Injection.
    """
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    if header:
        writer.writerow(COLUMNS)
    for caption in captions:
        cells = (column(caption) for column in COLUMNS.values())
        writer.writerow([_UNESCAPED.sub("'", cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue()


def unescape_cell(cell: str) -> str:
    """Return the text of a cell of `to_csv`."""
    return _ESCAPED.sub("", cell)


class CsvFile:
    """A table of captions, one row per image, in UTF-8 with the byte order mark that Excel needs.

    Raises: UsageError when the file cannot be written, or the one to replace is no such table.
    """

    def __init__(self, path: Path, overwrite: bool = False) -> None:
        check_output(path, overwrite, "a table of captions with their log_prob", _is_table)
        self.path = path
        self._captions: dict[str, Caption] = {}

    def write(self, caption: Caption) -> None:
        """Add a caption; a photograph may be given twice."""
        self._captions[caption.image] = caption._replace(attention=None)

    def finish(self) -> tuple[str, str]:
        """Write the file; nothing is to be reported. Raises: CaptionerError."""
        write_file(self.path, to_csv(self._captions.values()).encode("utf-8-sig", "backslashreplace"))
        return "", ""


def _is_table(path: str | os.PathLike[str]) -> bool:
    start = read_start(path, 80)
    return start == b"" or (start is not None and _HEADER.match(start) is not None)


def _has_weights(path: str | os.PathLike[str]) -> bool:
    return read_start(path, len(_RECORD)) in (b"", _RECORD)


def to_xmp(caption: str, keywords: Iterable[str] = ()) -> str:
    """Return an XMP packet with a caption (dc:description) and keywords (dc:subject), without control characters.

    Source: ISO 16684-1 (XMP), section 8.3.
    """
    items = "".join(_KEYWORD % _xml_text(keyword) for keyword in keywords)
    return _XMP % (_xml_text(caption), items and _KEYWORDS % items)


def _xml_text(text: str) -> str:
    return escape(" ".join(_NOT_IN_XML.sub(" ", text).split()))


class Sidecars(ABC):
    """Writes one file per photograph. An existing file is kept unless `overwrite` is set."""

    def __init__(self, overwrite: bool = False) -> None:
        self.overwrite = overwrite
        self.kept = 0
        """The number of existing files that were kept."""
        self.foreign = 0
        """The number of those that were kept because another program wrote or edited them."""
        self._failed: set[Path] = set()
        self._owners: dict[str, str] = {}
        self._stale = cache(stale_temporary_files)  # a folder of photographs may be large: list it once

    @abstractmethod
    def path(self, photo: Path) -> Path:
        """Return the file of a photograph."""

    @abstractmethod
    def content(self, caption: Caption) -> str:
        """Return the content of the file."""

    def is_replaceable(self, path: Path) -> bool:
        """Return whether an existing file may be replaced."""
        return True

    def write(self, caption: Caption) -> None:
        """Write the caption of a photograph; not in a folder where a file could not be written.

        Raises: CaptionerError when another photograph has the same sidecar, or the file cannot be written.
        """
        photo = Path(caption.image)
        path = self.path(photo)
        if path == photo:
            raise CaptionerError(f"{path}: is the photograph itself; try another suffix")
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
            foreign = not self.is_replaceable(path)
            if foreign or not self.overwrite:
                self.kept, self.foreign = self.kept + (not foreign), self.foreign + foreign
                return
        try:
            with writing(path):
                write_atomically(path, self.content(caption).encode())
        except CaptionerError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in FOLDER_ERRORS:
                self._failed.add(path.parent)
                raise CaptionerError(f"{error}; no further sidecars are written to this folder") from error
            raise

    def finish(self) -> tuple[str, str]:
        """Return how many existing files were kept."""
        kept = [f"{self.kept:,} sidecar{'s exist' if self.kept > 1 else ' exists'} {KEPT}"] if self.kept else []
        if self.foreign:
            kept.append(f"XMP sidecars of other programs, not changed: {self.foreign:,}")
        return "; ".join(kept), ""


class TextSidecars(Sidecars):
    """Writes one text file per photograph.

    Raises: UsageError for a suffix of photographs or XMP, which would be replaced, or none.
    """

    def __init__(self, suffix: str, overwrite: bool = False) -> None:
        is_other = is_photo_suffix(suffix) or suffix.lower().endswith(".xmp")
        if len(suffix) < 2 or not suffix.startswith(".") or set(suffix) & SEPARATORS or is_other:
            raise UsageError(f"--write-sidecar {suffix}: expected a suffix such as .txt")
        super().__init__(overwrite)
        self.suffix = suffix

    def path(self, photo: Path) -> Path:
        return photo.with_suffix(self.suffix)

    def content(self, caption: Caption) -> str:
        return f"{caption.text}\n"


class XmpSidecars(Sidecars):
    """Writes one XMP file per photograph, named photo.jpg.xmp as in darktable and digiKam.

    Only a file that is as captioner wrote it is replaced.
    """

    def path(self, photo: Path) -> Path:
        return photo.with_name(f"{photo.name}.xmp")

    def content(self, caption: Caption) -> str:
        return to_xmp(caption.text, (keyword.name for keyword in caption.keywords))

    def is_replaceable(self, path: Path) -> bool:
        return _OF_CAPTIONER.fullmatch(read_start(path, MAX_XMP) or b"") is not None


class AttentionFile:
    """The attention weights of captions as JSON lines, one per image; a photograph may be given twice.

    `encoder` is the identity of the encoder whose regions they are.

    Raises: UsageError when the file cannot be written, or the one to replace contains something else.
    """

    def __init__(self, path: Path, encoder: str, overwrite: bool = False) -> None:
        check_output(path, overwrite, "attention weights", _has_weights)
        self.path, self.encoder = path, encoder
        self._lines: dict[str, str] = {}

    def write(self, caption: Caption) -> None:
        """Add a caption with attention."""
        assert caption.attention is not None
        weights = caption.attention.record()
        record = {"encoder": self.encoder, "image": caption.image, "caption": caption.text} | weights
        self._lines[caption.image] = f"{to_json(record)}\n"

    def finish(self) -> tuple[str, str]:
        """Write the file; return the number of images. Raises: CaptionerError."""
        write_file(self.path, "".join(self._lines.values()).encode())
        number = len(self._lines)
        return "", f"{self.path}: attention maps of {number:,} image{'s' * (number != 1)} written"
