"""Search: rank the photographs of tables of JSON lines by how well they fit the words of a query."""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from captioner.captioning.restore import MAX_SHARE
from captioner.data.table_cells import description_of, is_corrected
from captioner.data.vocabulary import tokenize
from captioner.decode.word_regression import MIN_IMAGES, Keyword, WordRegression
from captioner.errors import DataError, similar
from captioner.photos.table_rows import open_format, read_rows

FLOOR = 0.02
"""The least share in a score: smaller ones are no better than chance, and most of them are not stored."""
FITS = 0.05
"""A word fits a photograph if its share is at least this."""
COMMON = 1.0
"""The IDF below which words, such as `a` and `on`, do not decide whether a photograph fits a query."""
SIMILARITY, MANY = 0.75, 20
"""Minimum similarity of a suggestion for an unknown word; queries of `MANY` words or more have no suggestions."""
EXPECTED = "captioner caption FOLDER --write album.jsonl writes them"


class Query(NamedTuple):
    """The distinct words of a query with their IDF, and the unknown ones with similar known words."""

    idf: Mapping[str, float]
    unknown: Mapping[str, Sequence[str]]

    @property
    def deciding(self) -> list[str]:
        """The words of which one must fit a photograph: all but common ones, if there are others."""
        return [word for word, idf in self.idf.items() if idf >= COMMON] or [*self.idf]


class Match(NamedTuple):
    """A photograph with its score for a query, and the deciding words that fit it, largest share first."""

    image: str
    caption: str
    score: float
    words: Sequence[Keyword]


def known_words(regression: WordRegression | None) -> dict[str, float]:
    """Return the words that have expected shares, with their IDF: 0 for a word of all images."""
    if regression is None:
        return {}
    rows = zip(regression.vocab.words, regression.counts.tolist(), regression.idf.tolist(), strict=True)
    return {word: idf for word, count, idf in rows if count >= MIN_IMAGES}


def read_query(text: str, regression: WordRegression | None) -> Query:
    """Split a query into its distinct words. Unknown ones get the largest IDF."""
    known, words = known_words(regression), [*dict.fromkeys(tokenize(text))]
    largest = max(known.values(), default=1.0)
    unknown = [word for word in words if word not in known]
    hints = {word: similar(word, known, SIMILARITY) if len(words) < MANY else [] for word in unknown}
    return Query({word: known.get(word, largest) for word in words}, hints)


def score(words: Iterable[str], shares: Mapping[str, float], idf: Mapping[str, float]) -> float:
    """Compute how well a photograph x fits the distinct words of a query q (text-to-image retrieval).

    score(q, x) = Σ_w idf_w log max(p_w(x), 0.02)

    p_w are expected shares; a word without one has the least. If words were independent, Σ_w log p_w would be the
    log-probability that a reference of x contains all; the IDF gives more weight to words that distinguish photographs.

    Source: Hodosh, Young and Hockenmaier 2013, Framing image description as a ranking task (the task and R@k).
    """
    return sum(idf[word] * math.log(max(shares.get(word, 0.0), FLOOR)) for word in words)


def best_matches(matches: Iterable[Match], number: int) -> list[Match]:
    """Return the photographs that fit, at most `number`, best first, equal ones in the order of the tables.

    Of several rows of a photograph, the first is used. No other photographs are kept in memory.
    """
    seen = set[str]()

    def fitting() -> Iterator[Match]:
        for match in matches:
            path = os.path.abspath(match.image)
            if match.words and path not in seen:
                yield match
            seen.add(path)

    return heapq.nlargest(number, fitting(), key=attrgetter("score"))


def shares_of(record: Mapping[str, Any], is_corrected: bool) -> dict[str, float]:
    """Return the expected shares of words in a record of a table.

    The words of a caption that a person corrected, and of one without any shares, have the share 1; so have those of
    its keywords.

    Raises: DataError for a record without a caption or shares.
    """
    caption, shares = record.get("caption"), record.get("shares")
    keywords = description_of(record).keywords
    if isinstance(caption, str) and isinstance(shares, dict):
        certain = tokenize(" ".join((caption, *keywords))) if is_corrected or not shares else ()
        if all(isinstance(share, int | float) and 0 <= share <= MAX_SHARE for share in shares.values()):
            return {**shares, **dict.fromkeys(certain, 1.0)}
    raise DataError(f"{record['image']}: expected a caption and shares, as {EXPECTED}")


def read_matches(table: Path, query: Query) -> Iterator[Match]:
    """Read the photographs of a table, with their scores.

    Raises: UsageError for a file that is no such table; DataError for a damaged line, or one without shares.
    """
    path, folder = Path(os.path.realpath(table)), os.path.realpath(".")
    for row in read_rows(path, table, open_format(path, table)):
        if row.path:
            shares = shares_of(row.values, is_corrected(row.values))
            words = [Keyword(word, shares[word]) for word in query.deciding if shares.get(word, 0.0) >= FITS]
            words.sort(key=lambda word: -word.share)
            image = row.path if table.is_absolute() else os.path.relpath(row.path, folder)
            yield Match(image, row.values["caption"], score(query.idf, shares, query.idf), words)
