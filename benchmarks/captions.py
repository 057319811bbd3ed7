"""python -m benchmarks.captions MODEL DATA: the best, worst and random captions of docs/results.md."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from operator import itemgetter
from typing import Any

from benchmarks.results import Row, insert, table
from benchmarks.session import ROOT

PAGE, PART, HEAD = ROOT / "docs" / "results.md", "captions", "photograph | caption | first reference | CIDEr-D"
SOURCES, COUNT = ("coco/", "flickr8k/"), 5
"""Captions of each source in each list."""


def chosen(images: list[dict[str, Any]]) -> Iterator[Row]:
    """Yield the rows of the images, which are in ascending order of CIDEr-D; random ones are drawn with seed 0."""
    groups = [[image for image in images if image["image"].startswith(source)] for source in SOURCES]
    lists = {
        "best": [group[: -COUNT - 1 : -1] for group in groups],
        "worst": [group[:COUNT] for group in groups],
        "random": [random.Random(0).sample(sorted(group, key=itemgetter("image")), COUNT) for group in groups],
    }
    for title, parts in lists.items():
        yield f"**{title}**", "", "", ""
        for image in chain(*parts):
            reference = image["references"][0].removesuffix(".").strip()
            yield image["image"], image["caption"], reference, f"{100 * image['cider_d']:.0f}"


if __name__ == "__main__":
    model, data = sys.argv[1:]
    command = [sys.executable, "-m", "captioner", "evaluate", model, "--data", data, "--worst", "1000000", "--json"]
    scored = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    PAGE.write_text(insert(PAGE.read_text(), table(HEAD, chosen(scored["worst"])), PART))
