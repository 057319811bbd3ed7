"""python -m benchmarks.search MODEL --data FILE: how often a search finds the photograph that a person described.

Each reference caption of the split val is a query for the photographs of its source. Then the time of a search.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from benchmarks import machine
from benchmarks.results import Row, table
from captioner.arrays import Array
from captioner.captioning.caption import Candidate, Caption
from captioner.captioning.load import open_corpus, open_run
from captioner.data.corpus import Split
from captioner.decode.word_regression import WordRegression
from captioner.photos.album import Album
from captioner.photos.search import read_query, search

HEAD = "source | queries | R@1 | R@5 | R@10 | median rank | all words fit clearly"
PATH = click.Path(path_type=Path)
PHOTOGRAPHS = 200_000
"""Photographs of the album whose search is timed."""
QUERIES = 5
"""Every fifth reference is a query."""


@click.command()
@click.argument("model", metavar="MODEL", type=PATH)
@click.option("--data", required=True, type=PATH, help="Data set of MODEL; its split val is searched.")
def main(model: Path, data: Path) -> None:
    """Print the table of docs/caption-photos.md, and the time of a search."""
    loaded = open_run(model)
    assert loaded.summary is not None, "MODEL has no word regression"
    val, regression = open_corpus(loaded, data).split("val"), loaded.summary.regression
    shares = loaded.summary.shares(val.features[:])
    lines = (row for source in dict.fromkeys(val.sources or [""]) for row in rows(val, source, shares, regression))
    print(machine.cpu(), table(HEAD, lines), sep="\n")
    with TemporaryDirectory() as folder:
        file = Path(folder, "album.db")
        with Album(file) as album:
            fill(album, np.resize(np.arange(len(shares)), PHOTOGRAPHS), shares, regression)
        command = [sys.executable, "-m", "captioner", "search", "dog on the beach", "--album", str(file)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        size, cpu, peak = file.stat().st_size / 1e6, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
        print(f"\n{PHOTOGRAPHS:,} photographs, {size:.0f} MB: {cpu:.1f} s of CPU time, {peak:.0f} MiB")


def rows(val: Split, source: str, shares: Array, regression: WordRegression) -> Iterator[Row]:
    """Yield the row of a source."""
    images = np.flatnonzero(np.array(val.sources or [""] * len(shares)) == source)
    ranks, clear = list[float](), list[bool]()
    with Album(None) as album:
        fill(album, images, shares, regression)
        queries = [
            (place, text)
            for place, image in enumerate(images.tolist())
            for text in val.references(image, regression.vocab)
        ]
        for place, text in queries[::QUERIES]:
            matches = search(album, read_query(text, regression), len(images))
            found = [(rank, match) for rank, match in enumerate(matches, 1) if match.place == f"/{place}.jpg".encode()]
            ranks.append(found[0][0] if found else len(images))
            clear.append(bool(found) and found[0][1].is_clear)
    recalls = (f"{np.mean(np.array(ranks) <= k):.1%}" for k in (1, 5, 10))
    yield source, f"{len(ranks):,}", *recalls, f"{np.median(ranks):g}", f"{np.mean(clear):.1%}"


def fill(album: Album, images: Array, shares: Array, regression: WordRegression) -> None:
    """Add photographs with the expected shares of some images, under the numbers of their places."""
    for place, image in enumerate(images.tolist()):
        (largest,) = regression.largest(shares[image : image + 1])
        caption = Caption("", "", 0.0, [], None, [Candidate("", 0.0)], shares=largest)
        album.locate(Path(f"/{place}.jpg"), place.to_bytes(16, "big"), (0, place, 0, 0), caption, "m")


if __name__ == "__main__":
    main()
