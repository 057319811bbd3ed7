"""The scores of captions as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from captioner.printable import printable

SCORES = {
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "bleu4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "cider_d": "CIDEr-D",
}
"""Shares that are shown times 100, with intervals where there are some."""
REST = {
    "mean_length": ("words a caption", ".1f"),
    "vocabulary": ("different words", ",d"),
    "distinct": ("different captions", ",d"),
    "novel": ("captions not in train", ".1%"),
    "repeats": ("that repeat a bigram", ".1%"),
    "unk": ("words that are <UNK>", ".1%"),
}
WIDTH = 24
LONGEST = 60
"""Characters of a name in a table."""


def score_lines(record: dict[str, Any], by: str) -> Iterator[str]:
    """The table of one set of captions, with a column for each other, and its difference from that."""
    others = record.get("others", {})
    true = record.get("true")
    yield (
        f"{printable(record['split'], LONGEST)}: {record['images']:,} images"
        + (f", perplexity {record['perplexity']:.2f}" if "perplexity" in record else "")
        + ("" if true is None else f", {true:.1%} true of their picture")
    )
    if others:
        names = [printable(other, LONGEST) for other in others]
        heads = [title for name in names for title in (name, f"above {name}")]
        yield _line("", [printable(by, LONGEST), *heads])
    for key, title in SCORES.items():
        if key in record:
            cells = [_cell(record[key], record["intervals"].get(key))]
            for other in others.values():
                apart = _cell(record[key] - other[key], other["difference"].get(key), "+")
                cells += [_cell(other[key], other["intervals"].get(key)), apart]
            yield _line(title, cells)
    for key, (title, form) in REST.items():
        if key in record:
            cells = [f"{record[key]:{form}}"]
            for other in others.values():
                cells += [f"{other[key]:{form}}", ""]
            yield _line(title, cells)


def worst_lines(worst: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Images with their CIDEr-D, caption and references, as the cells of lines."""
    for entry in worst:
        yield entry["image"], entry["caption"], f"{100 * entry['cider_d']:.1f}"
        for reference in entry["references"]:
            yield "", f"  {' '.join(reference.split())}"


def _cell(value: float, bounds: list[float] | None, sign: str = "") -> str:
    # + 0.0 since there is no score of -0.0
    first, *interval = (f"{round(100 * number, 1) + 0.0:{sign}.1f}" for number in (value, *(bounds or ())))
    return f"{first}  ({' to '.join(interval)})" if interval else first


def _line(title: str, cells: list[str]) -> str:
    first, *rest = cells
    return f"  {title:<22}{first:<{WIDTH}}{''.join(f'{cell:<{WIDTH}}' for cell in rest)}".rstrip()
