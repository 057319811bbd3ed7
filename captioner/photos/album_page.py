"""The album page: one HTML file with the captions of photographs, linked from where they are, and search.

The data of the page are a JSON text in it, which templates/album.js draws as one scrolls.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from captioner.captioning.caption import COLUMNS, MARKS
from captioner.decode.word_regression import WordRegression
from captioner.errors import DataError, printable
from captioner.files.atomic import remove_temporary_files, replacing, writing
from captioner.photos.search import COMMON, FITS, FLOOR, known_words, shares_of
from captioner.report.template import DOCTYPE, UNSAFE, load_script, render

MARKER, START = b'<meta name="generator" content="captioner album">', 1024
"""What identifies an album page among its first `START` bytes."""
PLACEHOLDER = "(the data of the page)"
IDF_DECIMALS = 6
SHOWN = *(name for name, column in COLUMNS.items() if column.on_page), "corrected"
"""The values of a record that the page shows."""


def is_album_page(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is an album page, or empty: what may be written anew."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        start = file.read(START)
    return not start or (start.startswith(DOCTYPE) and MARKER in start)


def write_album_page(
    path: Path, records: Iterable[tuple[Path, Mapping[str, Any]]], regression: WordRegression | None = None
) -> str:
    """Write the page of photographs with their records, as in a table of JSON lines, and return what was written.

    Photographs are linked by relative URLs, and not read. Search ranks them as `captioner search`, by the expected
    shares of the records. Records are written as they are read; one with `corrected` has the caption of a person.

    Raises: CaptionerError if the page cannot be written; an existing file is then unchanged.
    """
    script = load_script("common.js", "album.js")
    page = render("album.html", title=printable(path.stem), placeholder=PLACEHOLDER, script=script)
    before, _, after = page.rpartition(PLACEHOLDER.encode())
    words, folder, count = _SearchWords(regression), os.path.realpath(path.parent), 0
    remove_temporary_files(path)
    may_replace = partial(is_album_page, path)
    with writing(path), replacing(path, may_replace) as temporary, open(temporary, "wb") as file:
        file.write(before + b'{"photographs": [')
        for photo, record in records:
            place = os.path.relpath(photo, folder)
            entry = {key: record[key] for key in SHOWN if record.get(key)}
            entry |= {"url": quote(os.fsencode(place)), "name": printable(place), "shares": words.pack(record)}
            try:
                file.write((b",\n" if count else b"\n") + _to_json(entry))
            except ValueError:
                raise DataError(f"{photo}: expected finite numbers in its record") from None
            count += 1
        others = {
            "words": list(words.numbers),
            "idf": words.idf,
            "search": {"FLOOR": FLOOR, "FITS": FITS, "COMMON": COMMON},
            "meanings": {name: mark.meaning for name, mark in MARKS.items()},
        }
        file.write(b"\n],\n" + _to_json(others)[1:] + after)
    return f"{path}: {count:,} photograph{'s' * (count != 1)}; open it in a browser"


def _to_json(value: object) -> bytes:
    """Return a value as JSON that cannot end a script element, with escapes like those of `render`."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return UNSAFE.sub(lambda match: json.dumps(repr(match[0])[1:-1])[1:-1], text).encode()


class _SearchWords:
    """The words of a page with their numbers and IDF, as `read_query` has them."""

    def __init__(self, regression: WordRegression | None) -> None:
        self._known = known_words(regression)
        self.numbers = {word: number for number, word in enumerate(self._known)}

    def pack(self, record: Mapping[str, Any]) -> list[int]:
        """Return the shares of a record: the number of each word, and its share in thousandths.

        Words that the model does not know are those of corrected captions.
        """
        shares = shares_of(record, bool(record.get("corrected")))
        return [
            part
            for word, share in shares.items()
            for part in (self.numbers.setdefault(word, len(self.numbers)), round(1000 * share))
        ]

    @property
    def idf(self) -> list[float]:
        """The IDF of each word."""
        largest = max(self._known.values(), default=1.0)
        return [round(self._known.get(word, largest), IDF_DECIMALS) for word in self.numbers]
