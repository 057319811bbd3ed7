"""python -m benchmarks.album_page ALBUM.jsonl: file size and times of an album page of 20,000 photographs, in Chromium.

The records of the table, which `captioner caption FOLDER --write ALBUM.jsonl` wrote, are repeated.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import captioner
from captioner.captioning.find_checkpoint import DEFAULT_MODEL
from captioner.data.vocabulary import tokenize
from captioner.decode.word_regression import WordRegression
from captioner.photos.album_page import write_album_page
from captioner.photos.search import FITS, read_query, score

QUERIES = "dog", "dog on the beach", "a man riding a wave on a surfboard"
FIRST_PICTURE = """
const done = arguments[0];
const poll = () => document.querySelector(".cards img")?.naturalWidth ? done(performance.now()) : setTimeout(poll, 2);
poll();
"""
SEARCH = """
const start = performance.now();
query.value = arguments[0];
update();
results.getBoundingClientRect();
return [performance.now() - start, shown];
"""


def ranked(text: str, records: Sequence[Mapping[str, Any]], regression: WordRegression) -> list[int]:
    """Rank records by the score of `captioner search`, for comparison with the page."""
    query, scores = read_query(text, regression), {}
    for number, record in enumerate(records):
        certain = dict.fromkeys(tokenize(record["caption"]), 1.0) if record.get("corrected") else {}
        shares = record["shares"] | certain
        if any(shares.get(word, 0) >= FITS for word in query.deciding):
            scores[number] = score(query.idf, shares, query.idf)
    return sorted(scores, key=lambda number: -scores[number])


def main(table: str, photographs: int = 20_000) -> None:
    """Print the figures of the page, and check its search."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from browser import started

    records = list(islice(cycle(map(json.loads, Path(table).read_text().splitlines())), photographs))
    summary = captioner.load(DEFAULT_MODEL).loaded.summary
    assert summary is not None
    with tempfile.TemporaryDirectory() as folder, started(Path(folder)) as browser:
        page, start = Path(folder, "album.html"), time.perf_counter()
        places = [(Path(table).absolute().parent / record["image"], record) for record in records]
        write_album_page(page, places, summary.regression)
        print(f"written in {time.perf_counter() - start:.1f} s; {page.stat().st_size / 1e6:.1f} MB")
        browser.open(page)
        print(f"first picture after {browser.driver.execute_async_script(FIRST_PICTURE) / 1000:.2f} s")
        for query in QUERIES:
            milliseconds, order = browser.driver.execute_script(SEARCH, query)
            assert order == ranked(query, records, summary.regression), f"{query}: another order"
            print(f"{query}: {len(order):,} photographs in {milliseconds:.0f} ms")


if __name__ == "__main__":
    main(sys.argv[1])
