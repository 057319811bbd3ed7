"""The comparison of runs: differences of scores, and the captions that differ most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import Split
from captioner.errors import printable
from captioner.evaluation.titles import SCORES
from captioner.report.gallery import MAX_REFERENCES, MAX_TEXT, SIDE, shown_name, shown_text
from captioner.report.pictures import Embedded, Picture, embed_or_none
from captioner.report.scores import interval, score
from captioner.text.vocabulary import Vocab


class CaptionDifference(NamedTuple):
    """An image whose captions differ: its picture, and for each run the name, the caption and its CIDEr-D."""

    name: str
    picture: Embedded | None
    captions: list[tuple[str, str, float]]
    references: list[str]


class Comparison(NamedTuple):
    """The differences of the first run from the others, and images."""

    note: str
    head: list[str]
    rows: list[list[str]]
    entries: list[CaptionDifference]


def compare(
    record: Mapping[str, Any],
    names: Sequence[str],
    cider: Array,
    captions: Sequence[Sequence[str]],
    split: Split,
    vocab: Vocab,
    pictures: Callable[[int], Picture],
    count: int,
) -> Comparison:
    """Compare runs by the record of their evaluation, and find the `count` images whose CIDEr-D differs most.

    Shapes: R names, cider (R, N), R lists of N captions, for the N images of the split that have references.
    """
    first, *others = names
    compared = list(record["others"].values())
    table = [
        [
            title,
            *(f"{score(record[key] - one[key], '+')}  ({interval(one['difference'][key], '+')})" for one in compared),
        ]
        for key, title in SCORES.items()
    ]
    rows = split.captioned_images.tolist()
    differences = cider.max(axis=0) - cider.min(axis=0)
    entries = []
    for number in np.argsort(-differences, kind="stable")[:count].tolist():
        if not differences[number] > 0:
            break
        captions_of_runs = zip(
            names, (printable(own[number], MAX_TEXT) for own in captions), cider[:, number].tolist(), strict=True
        )
        row = rows[number]
        references = [shown_text(one) for one in split.references(row, vocab)[:MAX_REFERENCES]]
        picture = embed_or_none(pictures(row), SIDE, False)
        entries.append(CaptionDifference(shown_name(split.image_ids[row]), picture, [*captions_of_runs], references))
    note = (
        f"The scores of {first} minus those of the other runs, on the same images. If an interval does not contain 0, "
        "the choice of the images alone does not explain the difference."
    )
    return Comparison(note, ["", *(f"{first} minus {other}" for other in others)], table, entries)
