"""Files of captions: the cells of a table, and whole files of the captions of a data set."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from captioner.captioning.caption import TABLE_COLUMNS, Caption, to_record
from captioner.data.table_cells import csv_line
from captioner.files.atomic import write_file
from captioner.files.user_files import check_output, read_start, to_json

LAST = [*TABLE_COLUMNS][-1].encode()
"""The last column: a table of `captioner caption` has a further one."""
MAX_START = 1 << 16
"""Bytes of a file that its kind is recognized by."""


class FileKind(NamedTuple):
    """A kind of file with an entry for each caption.

    `start` matches the start of such a file; it contains `log_prob`, which files of references do not have.
    """

    name: str
    start: re.Pattern[bytes]
    entry: Callable[[Caption], str]
    header: str = ""
    encoding: str = "utf-8"

    def is_kind_of(self, path: str | os.PathLike[str]) -> bool:
        """Return whether a file is empty or of this kind; False if it cannot be read."""
        start = read_start(path, MAX_START)
        return start is not None and (start == b"" or self.start.match(start) is not None)


FILES: Mapping[str, FileKind] = {
    ".csv": FileKind(
        "a table of captions with their log_prob",
        # also saved by a spreadsheet
        re.compile(rb'(?:\xef\xbb\xbf)?"?image"?([,;\t])"?caption"?\1.*\blog_prob\b.*\1"?%b"?\r?\n' % LAST),
        lambda caption: csv_line(cell(caption) for cell in TABLE_COLUMNS.values()),
        csv_line(TABLE_COLUMNS),
        "utf-8-sig",  # with the byte order mark that Excel needs
    ),
    ".jsonl": FileKind(
        "JSON lines of captions with their log_prob",
        re.compile(rb'\{"image": "(?:[^"\\]|\\.)*", "caption": "(?:[^"\\]|\\.)*", "keywords": \['),
        lambda caption: f"{to_json(to_record(caption))}\n",
    ),
}
"""The files of --write by their suffix."""


class CaptionFile:
    """A file with an entry for each image, written when it is complete.

    Raises: UsageError when the file cannot be written, or the one to replace is of another kind.
    """

    def __init__(self, path: Path, kind: FileKind, overwrite: bool = False) -> None:
        self._may_replace = check_output(path, overwrite, kind.name, kind.is_kind_of)
        self.path, self.kind = path, kind
        self._entries: list[str] = []

    def write(self, caption: Caption) -> None:
        self._entries.append(self.kind.entry(caption))

    def finish(self) -> str:
        """Write the file; return what was written. Raises: CaptionerError."""
        content = self.kind.header + "".join(self._entries)
        write_file(self.path, content.encode(self.kind.encoding, "backslashreplace"), self._may_replace)
        count = len(self._entries)
        return f"{self.path}: {count:,} caption{'s' * (count != 1)} written"
