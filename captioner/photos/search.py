"""Search: rank the photographs of an album by how well they fit the words of a query."""

from __future__ import annotations

import heapq
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.data.vocabulary import tokenize
from captioner.decode.word_regression import MIN_IMAGES, Keyword, WordRegression
from captioner.errors import UsageError, similar
from captioner.photos.album import MAX_WORDS, Album

FLOOR = 0.02
"""The least share in a score: smaller ones are no better than chance, and most of them are not stored."""
LEAST, SHORTEST = 1e-9, 2
FITS, CLEAR = 0.05, 0.2
"""A word fits a photograph if its share is at least the first, and clearly if it is at least the second."""
COMMON = 1.0
"""The IDF below which words, such as `a` and `on`, do not decide whether a photograph fits a query."""
RELATED = 0.3
"""The cosine of the weights of two words, such as *surfer* and *surfing*, from which all words of a stem are joined."""
NAMES, NAMED = 3, 0.1
"""The last parts of a path that are searched, names of a file and of two folders, and the share of a word in them."""
LONGEST = 60
"""The most words of a query."""
SIMILARITY, MANY = 0.75, 20
"""Minimum similarity of a suggestion for an unknown word; queries of `MANY` words or more have no suggestions."""


class Term(NamedTuple):
    """A word of a query with its IDF, all forms of it, and, if the model knows none of them, similar known words."""

    word: str
    idf: float
    forms: frozenset[str]
    near: Sequence[str] | None = None


class Match(NamedTuple):
    """A photograph with its score, the deciding words that fit it, and whether all of them clearly fit."""

    place: bytes
    score: float
    words: Sequence[Keyword]
    is_clear: bool


def plain(text: str) -> str:
    """Return a text in lower case, without accents."""
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    return text.lower()


def read_query(text: str, regression: WordRegression | None) -> list[Term]:
    """Split a query into its distinct words; unknown ones get the largest IDF. Raises: UsageError for none, or many."""
    words = [*dict.fromkeys(map(plain, tokenize(text)))]
    if not 0 < len(words) <= LONGEST:
        raise UsageError(f"query: expected 1 to {LONGEST} words, got {len(words):,}")
    if regression is None:
        return [Term(word, 1.0, frozenset([word])) for word in words]
    rows = zip(regression.vocab.words, regression.counts.tolist(), regression.idf.tolist(), strict=True)
    known = {plain(word): (word, idf) for word, count, idf in rows if count >= MIN_IMAGES}
    largest, terms = max((idf for _, idf in known.values()), default=1.0), list[Term]()
    families = dict[str, list[str]]()
    for word in regression.vocab.words:
        families.setdefault(_stem(word), []).append(word)
    for word in words:
        if word in known:
            name, idf = known[word]
            forms = _forms(name, families[_stem(name)], regression)
            terms.append(Term(word, idf, frozenset(map(plain, forms))))
        else:
            near = similar(word, known, SIMILARITY) if len(words) < MANY else []
            terms.append(Term(word, largest, frozenset([word]), near))
    return terms


def _forms(word: str, family: Sequence[str], regression: WordRegression) -> set[str]:
    """Return the names of the thing that a word names, and the `family` of its stem, if they are related."""
    ids, words, things = regression.vocab.word_to_idx, regression.vocab.words, regression.things
    forms = {words[id] for id in np.flatnonzero(things == things[ids[word]]).tolist()}
    doers, doings = ([ids[each] for each in family if each.endswith(end)] for end in (("er", "ers"), "ing"))
    if doers and doings and len(_stem(word)) > SHORTEST:
        weights = regression.words[[*doers, *doings]] @ regression.projection
        weights /= np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), LEAST)
        if (weights[: len(doers)] @ weights[len(doers) :].T).max() >= RELATED:
            forms.update(family)
    return forms


def _stem(word: str) -> str:
    """Return a word without the endings of plurals, verbs and those who do something."""
    stem = re.sub("(ing|er)?s?$", "", word)
    return re.sub(r"([^aeiou])\1$|e$", r"\1", stem)


def deciding(terms: Sequence[Term]) -> list[Term]:
    """Return the words that must fit a photograph: all but common ones, if there are others."""
    return [term for term in terms if term.idf >= COMMON] or [*terms]


def search(album: Album, terms: Sequence[Term], number: int, folder: Path | None = None) -> list[Match]:
    """Return the photographs of a folder, by default of the album, that fit a query, at most `number`, best first.

    score(q, x) = Σ_w idf_w log max(p_w(x), 0.02)

    p_w is the largest expected share of the forms of w; it is 1 if a person wrote one of them, and at least 0.1 if the
    name of the file or of its folder contains one. If words were independent, Σ_w log p_w would be the log-probability
    that a reference of x contains all; the IDF gives more weight to words that distinguish photographs. Photographs
    that all deciding words clearly fit are first.

    Source: Hodosh, Young and Hockenmaier 2013, Framing image description as a ranking task (the task and R@k).
    """
    table = np.zeros(MAX_WORDS + 1, np.int64)
    for word, id in album.words().items():
        for bit, term in enumerate(terms):
            table[id] |= (plain(word) in term.forms) << bit
    written = {
        path: {*map(plain, tokenize(" ".join((caption, *keywords))))}
        for path, (caption, keywords) in album.corrections().items()
    }
    within = os.fsencode(os.path.join(os.path.realpath(folder), "")) if folder else b""
    found = list[tuple[bool, float, bytes, Array]]()
    needed = [term in deciding(terms) for term in terms]
    idf = np.array([term.idf for term in terms])
    for paths, shares in album.shares():
        rows, columns = np.nonzero(table[shares["word"]])
        bits, found_shares = table[shares["word"][rows, columns]], shares["share"][rows, columns].astype(float)
        p = _written(paths, terms, written)
        for bit in range(len(terms)):
            is_form = bits >> bit & 1 > 0
            np.maximum.at(p[:, bit], rows[is_form], found_shares[is_form])
        scores, least, most = np.log(np.maximum(p, FLOOR)) @ idf, p[:, needed].min(axis=1), p[:, needed].max(axis=1)
        for row in np.flatnonzero(most >= FITS).tolist():
            if paths[row].startswith(within):
                found.append((bool(least[row] < CLEAR), -float(scores[row]), paths[row], p[row]))
    best = heapq.nsmallest(number, found, key=itemgetter(0, 1, 2))
    return [Match(path, -score, [*_fitting(terms, p)], not is_weak) for is_weak, score, path, p in best]


def _written(paths: Sequence[bytes], terms: Sequence[Term], written: Mapping[bytes, set[str]]) -> Array:
    """Return the share of each word that a person wrote: 1 in a correction, and in a name if the model does not know
    it, as folders have also photographs of other things. Shapes: -> (N, Q).
    """
    p = np.zeros((len(paths), len(terms)))
    columns = {form: column for column, term in enumerate(terms) for form in term.forms}
    in_name = [NAMED if term.near is None else 1.0 for term in terms]
    word = re.compile(rf"(?<![^\W\d_])(?:{'|'.join(map(re.escape, columns))})(?![^\W\d_])")
    for row, path in enumerate(paths):
        for found in word.findall(plain(os.fsdecode(b"/".join(path.split(b"/")[-NAMES:])))):
            p[row, columns[found]] = in_name[columns[found]]
        for column, term in enumerate(terms) if path in written else ():
            p[row, column] = p[row, column] if written[path].isdisjoint(term.forms) else 1
    return p


def _fitting(terms: Sequence[Term], p: Array) -> Iterator[Keyword]:
    """Yield the deciding words that fit a photograph, largest share first."""
    pairs = sorted(zip(p.tolist(), terms, strict=True), key=lambda pair: -pair[0])
    needed = deciding(terms)
    yield from (Keyword(term.word, round(share, 3)) for share, term in pairs if term in needed and share >= FITS)
