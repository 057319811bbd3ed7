"""The summary of a data set as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from captioner.errors import printable, quoted

COUNTS = {
    "skipped": "skipped lines",
    "omitted": "images omitted: in no list, or in an empty split",
    "missing": "missing photographs",
    "unreadable": "unreadable photographs",
    "truncated": "truncated captions",
}
USED = ("train", "val", "test")
MAX_UNK = 0.05
"""The fraction of <UNK> words above which a hint is printed."""
LONGEST = 200
"""Maximum characters of a name."""


def summary_lines(summary: dict[str, Any], name: str) -> Iterator[str]:
    """Yield the lines of the summary of the data set `name`."""
    from captioner.data.summary import ROWS

    splits, counts = summary["splits"], summary.get("counts", {})
    yield name
    yield f"{'':<24}" + "".join(f"{split:>12.11}" for split in splits)
    for key, (title, spec) in ROWS.items():
        yield f"  {title:<22}" + "".join(f"{split[key]:>12{spec}}" for split in splits.values())
    of = f" of {counts['distinct_words']:,} in train" if counts else ""
    of += f", minimum count {counts['min_count']}" if counts.get("min_count", 1) > 1 else ""
    yield f"  vocabulary: {summary['vocabulary']:,} words{of}"
    if "encoder" in summary:
        encoder = printable(summary["encoder"], LONGEST)
        yield f"  features: {summary['feature']:,}-d {summary['dtype']} of encoder {encoder}"
    if "regions" in summary:
        rows, columns, width = summary["regions"]
        yield f"  regions: {rows} x {columns} per image, {width:,}-d"
    for key, title in COUNTS.items():
        if counts.get(key):
            yield f"  {title}: {counts[key]:,}"
    for split in splits if counts else ():
        if split not in USED:
            yield f"  split {quoted(split)} is not used unless selected by name"
    duplicates = summary.get("duplicates", {"images": 0, "examples": []})
    if duplicates["images"]:
        pairs = ", ".join(printable(" = ".join(pair), LONGEST) for pair in duplicates["examples"][:3])
        yield f"  duplicate photographs across splits: {duplicates['images']:,} ({pairs})"
    if any(split["unk"] > MAX_UNK for split in splits.values()):
        smaller = "" if counts.get("min_count") == 1 else "a smaller --min-count or "
        yield f"  many words are <UNK>; try {smaller}more captions"
