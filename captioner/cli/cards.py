"""Data cards, and whatever else comes from files, as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
JOINERS = "\u200c\u200d"
"""What words of Persian and Hindi hold, and terminals know."""
USED = ("train", "val", "test")
RARE = 0.05


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
        yield f"  features: {card['feature']:,} numbers an image, {card['dtype']}, by {one_line(card['encoder'])}"
    for key, title in COUNTS.items():
        if counts.get(key):
            yield f"  {title}: {counts[key]:,}"
    for split in splits if counts else ():
        if split not in USED:
            yield f"  split {one_line(repr(split))} is used by no command unless named"
    duplicates = card.get("duplicates", {"images": 0, "examples": []})
    if duplicates["images"]:
        pairs = ", ".join(one_line(" = ".join(pair)) for pair in duplicates["examples"][:3])
        yield f"  the same photograph in two splits: {duplicates['images']:,} ({pairs})"
    if any(split["unk"] > RARE for split in splits.values()):
        smaller = "" if counts.get("min_count") == 1 else "a smaller --min-count, or "
        yield f"  many words are too rare to learn: try {smaller}more captions"


def one_line(told: object) -> str:
    """A message or a name in one line: names of files may hold tabs and line ends."""
    return "".join(c if c.isprintable() or c in JOINERS else repr(c)[1:-1] for c in str(told))
