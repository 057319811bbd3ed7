"""Data cards as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from captioner.printable import printable, quoted

ROWS = {
    "images": ("images", ",d"),
    "captions": ("captions", ",d"),
    "words": ("words", ",d"),
    "shortest": ("shortest caption", "d"),
    "mean": ("mean caption", ".1f"),
    "longest": ("longest caption", "d"),
    "unk": ("words that are <UNK>", ".2%"),
}
COUNTS = {
    "skipped": "lines skipped",
    "left_out": "images left out, as they are in no list or their split is empty",
    "missing": "photographs missing",
    "unreadable": "photographs that cannot be read",
    "cut": "captions cut to the longest length",
}
USED = ("train", "val", "test")
RARE = 0.05
LONGEST = 200
"""Characters of one name in a line of several."""


def card_lines(card: dict[str, Any], name: str) -> Iterator[str]:
    """The card of the data set `name`, line by line."""
    splits, counts = card["splits"], card.get("counts", {})
    yield name
    yield f"{'':<24}" + "".join(f"{split:>12.11}" for split in splits)
    for key, (title, form) in ROWS.items():
        yield f"  {title:<22}" + "".join(f"{split[key]:>12{form}}" for split in splits.values())
    of = f" of {counts['different']:,} in train" if counts else ""
    of += f", seen {counts['min_count']} times or more" if counts.get("min_count", 1) > 1 else ""
    yield f"  vocabulary: {card['vocabulary']:,} words{of}"
    if "encoder" in card:
        encoder = printable(card["encoder"], LONGEST)
        yield f"  features: {card['feature']:,} numbers an image, {card['dtype']}, by {encoder}"
    for key, title in COUNTS.items():
        if counts.get(key):
            yield f"  {title}: {counts[key]:,}"
    for split in splits if counts else ():
        if split not in USED:
            yield f"  split {quoted(split)} is used by no command unless named"
    duplicates = card.get("duplicates", {"images": 0, "examples": []})
    if duplicates["images"]:
        pairs = ", ".join(printable(" = ".join(pair), LONGEST) for pair in duplicates["examples"][:3])
        yield f"  the same photograph in two splits: {duplicates['images']:,} ({pairs})"
    if any(split["unk"] > RARE for split in splits.values()):
        smaller = "" if counts.get("min_count") == 1 else "a smaller --min-count, or "
        yield f"  many words are too rare to learn: try {smaller}more captions"
