"""The scores of captions as a table."""

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
"""Metrics that are shown times 100, with confidence intervals if there are any."""
STATISTICS = {
    "mean_length": ("words per caption", ".1f"),
    "vocabulary": ("distinct words", ",d"),
    "distinct": ("distinct captions", ",d"),
    "novel": ("captions not in train", ".1%"),
    "repeats": ("with repeated bigram", ".1%"),
    "unk": ("<UNK> words", ".1%"),
}
WIDTH = 24
LONGEST = 60
"""Maximum characters of a name."""


def score_lines(record: dict[str, Any], by: str) -> Iterator[str]:
    """Yield the table of a record: a column of scores, and two per compared set (its scores, the difference)."""
    others = record.get("others", {})
    true = record.get("true")
    yield (
        f"{printable(record['split'], LONGEST)}: {record['images']:,} images"
        + (f", perplexity {record['perplexity']:.2f}" if "perplexity" in record else "")
        + ("" if true is None else f", {true:.1%} of captions true")
    )
    if others:
        names = [printable(other, LONGEST) for other in others]
        heads = [title for name in names for title in (name, f"minus {name}")]
        yield _line("", [printable(by, LONGEST), *heads])
    for key, title in SCORES.items():
        if key in record:
            cells = [_cell(record[key], record["intervals"].get(key))]
            for other in others.values():
                difference = _cell(record[key] - other[key], other["difference"].get(key), "+")
                cells += [_cell(other[key], other["intervals"].get(key)), difference]
            yield _line(title, cells)
    for key, (title, spec) in STATISTICS.items():
        if key in record:
            cells = [f"{record[key]:{spec}}"]
            for other in others.values():
                cells += [f"{other[key]:{spec}}", ""]
            yield _line(title, cells)


def worst_lines(worst: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield lines of cells: image, caption and CIDEr-D, then the references."""
    for entry in worst:
        yield entry["image"], entry["caption"], f"{100 * entry['cider_d']:.1f}"
        for reference in entry["references"]:
            yield "", f"  {' '.join(reference.split())}"


def _cell(value: float, bounds: list[float] | None, sign: str = "") -> str:
    # + 0.0 turns -0.0 into 0.0
    first, *interval = (f"{round(100 * number, 1) + 0.0:{sign}.1f}" for number in (value, *(bounds or ())))
    return f"{first}  ({' to '.join(interval)})" if interval else first


def _line(title: str, cells: list[str]) -> str:
    first, *rest = cells
    return f"  {title:<22}{first:<{WIDTH}}{''.join(f'{cell:<{WIDTH}}' for cell in rest)}".rstrip()
