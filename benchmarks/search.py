"""python -m benchmarks.search MODEL --data FILE: how often a search finds the photograph that a person described.

Each reference caption of the split val is a query for the photographs of its source.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from benchmarks import machine
from benchmarks.checks import within
from benchmarks.results import Row, table
from captioner.arrays import Array
from captioner.captioning.load import open_corpus, open_run
from captioner.data.corpus import Split
from captioner.data.table_cells import Stamp, digest_of
from captioner.decode.word_regression import SHARE_DECIMALS, WordRegression
from captioner.photos.search import FITS, FLOOR, Query, read_query, score

HEAD = "source | stored | least share | R@1 | R@5 | R@10 | median rank | no word fits"
PATH = click.Path(path_type=Path)
CASES = (None, 0.001), (128, 0.001), (128, 0.01), (128, 0.04), (64, FLOOR), (128, FLOOR), (256, FLOOR), (None, FLOOR)
"""Numbers of shares that are stored, None for all, and the least share in a score."""
LINES = 20_000
"""Lines of the table whose search is timed."""


@click.command()
@click.argument("model", metavar="MODEL", type=PATH)
@click.option("--data", required=True, type=PATH, help="Data set of MODEL; its split val is searched.")
def main(model: Path, data: Path) -> None:
    """Print the table of docs/search.md, and the time of a search."""
    loaded = open_run(model)
    assert loaded.summary is not None, "MODEL has no word regression"
    val, regression = open_corpus(loaded, data).split("val"), loaded.summary.regression
    shares = loaded.summary.shares(val.features[:])
    lines = (row for source in dict.fromkeys(val.sources or [""]) for row in rows(val, source, shares, regression))
    print(machine.cpu(), table(HEAD, lines), sep="\n")
    with TemporaryDirectory() as folder:
        file = Path(folder, "album.jsonl")
        write_table(file, val, regression, shares)
        command = [sys.executable, "-m", "captioner", "search", str(file), "dog on the beach", "--model", str(model)]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"\n{LINES:,} lines, {file.stat().st_size / 1e6:.0f} MB: {time.perf_counter() - start:.1f} s")


def rows(val: Split, source: str, shares: Array, regression: WordRegression) -> Iterator[Row]:
    """Yield the rows of a source: for each number of stored shares, and for each least share."""
    images = np.flatnonzero(np.array(val.sources or [""] * len(shares)) == source)
    queries, own = list[Query](), list[int]()
    for place, image in enumerate(images.tolist()):
        for text in val.references(image, regression.vocab):
            if (query := read_query(text, regression)).idf:
                queries.append(query)
                own.append(place)
    for number, least in CASES:
        kept = stored(shares[images], number)
        scored = ranks(kept, queries, own, regression, least)
        found = (f"{np.mean(scored <= k):.1%}" for k in (1, 5, 10))
        ids = regression.vocab.word_to_idx
        hidden = [
            max((kept[row, ids[word]] for word in query.deciding if word in ids), default=0) < FITS
            for query, row in zip(queries, own, strict=True)
        ]
        yield source, f"{number or 'all'}", f"{least:g}", *found, f"{np.median(scored):g}", f"{np.mean(hidden):.1%}"


def stored(shares: Array, number: int | None) -> Array:
    """Keep the largest shares of each photograph, as a table does. Shapes: (N, V) -> (N, V)."""
    if number is None:
        return shares
    smallest = -np.partition(-shares, number - 1, axis=1)[:, number - 1 : number]
    return np.where(shares >= smallest, shares, 0).round(SHARE_DECIMALS)


def ranks(
    shares: Array, queries: Sequence[Query], own: Sequence[int], regression: WordRegression, least: float
) -> Array:
    """Compute the rank of the right photograph for each query; of equal scores, the middle. Shapes: -> (Q,)."""
    ids, weights = regression.vocab.word_to_idx, np.zeros((shares.shape[1], len(queries)))
    for column, query in enumerate(queries):
        for word in query.idf.keys() & ids.keys():  # an unknown word adds the same to all photographs
            weights[ids[word], column] = query.idf[word]
    scores = np.log(np.maximum(shares, least)) @ weights
    right = scores[own, np.arange(len(queries))]
    if least == FLOOR:
        of_words = dict(zip(regression.vocab.words, shares[own[0]].tolist(), strict=True))
        known = queries[0].idf.keys() & ids.keys()
        within("score of the first query", abs(score(known, of_words, queries[0].idf) - right[0]), 1e-4)
    return np.asarray(0.5 + (scores > right + 1e-9).sum(axis=0) + (abs(scores - right) <= 1e-9).sum(axis=0) / 2)


def write_table(file: Path, val: Split, regression: WordRegression, shares: Array) -> None:
    """Write the lines of the photographs, repeated under other names, with a reference as the caption."""
    lines = []
    for image, largest in enumerate(regression.largest(shares)):
        caption = val.references(image, regression.vocab)[0]
        stamp = Stamp(482113, "20261130T111800Z", "0" * 8, digest_of(caption), "0" * 8)
        lines.append({"caption": caption, "keywords": [], "shares": dict(largest), "file": str(stamp)})
    with open(file, "w", encoding="utf-8") as stream:
        for number in range(LINES):
            stream.write(json.dumps({"image": f"{number}.jpg", **lines[number % len(lines)]}) + "\n")


if __name__ == "__main__":
    main()
