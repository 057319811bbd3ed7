"""The album page: one HTML file with the captions of photographs, linked from where they are, and search.

The data of the page are a JSON text in it, which templates/album.js draws as one scrolls.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from math import log
from pathlib import Path
from typing import Any
from urllib.parse import quote

from captioner.captioning.caption import MARKS
from captioner.data.vocabulary import tokenize
from captioner.decode.word_regression import WordRegression
from captioner.errors import printable
from captioner.files.atomic import remove_temporary_files, replacing, writing
from captioner.report.template import DOCTYPE, UNSAFE, load_script, render

MARKER, START = b'<meta name="generator" content="captioner album">', 1024
"""What identifies an album page among its first `START` bytes."""
PLACE = "(the data of the page)"
FLOOR, FITS, COMMON = 0.001, 0.05, 1.0
"""Of search: the least share in a score, that of a word that fits a photograph, and the IDF of words that decide."""
IDF_DECIMALS = 6
SHOWN = "caption", "keywords", "marks", "corrected", "similarity", "labels", "candidates", "attention"
"""The values of a record that the page shows."""


def is_album_page(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is an album page, or empty: what may be written anew."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        start = file.read(START)
    return not start or (start.startswith(DOCTYPE) and MARKER in start)


def write_album_page(
    path: Path, records: Iterable[tuple[Path, Mapping[str, Any]]], regression: WordRegression | None, title: str
) -> int:
    """Write the page of photographs with their records, as in a table of JSON lines, and return their number.

    Photographs are linked by relative URLs, and not read. Search ranks them as `captioner search`, by the expected
    shares of the records; without a regression, by the words of captions and keywords. Records are written as they are
    read; one with `corrected` has the caption of a person.

    Raises: CaptionerError if the page cannot be written; an existing file is then unchanged.
    """
    page = render("album.html", title=printable(title), place=PLACE, script=load_script("common.js", "album.js"))
    before, _, after = page.rpartition(PLACE.encode())
    words, folder, count = _SearchWords(regression), os.path.abspath(path.parent), 0
    remove_temporary_files(path)
    with writing(path), replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(before + b'{"photographs": [')
        for photo, record in records:
            place = os.path.relpath(photo, folder)
            entry = {key: record[key] for key in SHOWN if record.get(key)}
            entry |= {"url": quote(os.fsencode(place)), "name": printable(place), "shares": words.pack(record)}
            file.write((b",\n" if count else b"\n") + _to_json(entry))
            count += 1
        others = {
            "words": list(words.numbers),
            "idf": words.idf(count),
            "search": {"FLOOR": FLOOR, "FITS": FITS, "COMMON": COMMON},
            "meanings": {mark: meaning for mark, (_, meaning) in MARKS.items()},
        }
        file.write(b"\n],\n" + _to_json(others)[1:] + after)
    return count


def _to_json(value: object) -> bytes:
    """Return a value as JSON that cannot end a script element, with escapes like those of `render`."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return UNSAFE.sub(lambda match: json.dumps(repr(match[0])[1:-1])[1:-1], text).encode()


class _SearchWords:
    """The words of a page with their numbers, for the expected shares of photographs and for IDF.

    Words of corrected captions that the regression does not know have its largest IDF. Without a regression, the IDF of
    a word is log(N / N_w): N_w of the N photographs have it in their captions or keywords.
    """

    def __init__(self, regression: WordRegression | None) -> None:
        self._counts = Counter[str]() if regression is None else None
        self._known: dict[str, float] = {}
        if regression is not None:
            pairs = zip(regression.vocab.words, regression.idf.tolist(), strict=True)
            self._known = {word: round(idf, IDF_DECIMALS) for word, idf in pairs if idf}
        self.numbers = {word: number for number, word in enumerate(self._known)}

    def pack(self, record: Mapping[str, Any]) -> list[int]:
        """Return the shares of a record: the number of each word, and its share in thousandths."""
        certain = dict.fromkeys(tokenize(record["caption"]), 1.0)
        if self._counts is None:
            shares = {word: share for word, share in record.get("shares", {}).items() if word in self._known}
            shares |= certain if record.get("corrected") else {}
        else:
            shares = {keyword["word"]: keyword["share"] for keyword in record.get("keywords", ())} | certain
            self._counts.update(shares.keys())
        packed: list[int] = []
        for word, share in shares.items():
            packed += self.numbers.setdefault(word, len(self.numbers)), round(1000 * share)
        return packed

    def idf(self, photographs: int) -> list[float]:
        """Return the IDF of each word."""
        if self._counts is not None:
            return [round(log(photographs / self._counts[word]), IDF_DECIMALS) for word in self.numbers]
        largest = max(self._known.values(), default=0.0)
        return [self._known.get(word, largest) for word in self.numbers]
