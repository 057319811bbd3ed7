"""Find caption files in a folder that was named in place of one."""

from __future__ import annotations

import os
from itertools import islice

from captioner.data.readers.tables import TOKEN

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
OTHERS = (".json", ".txt")
"""Suffixes of files that have captions only if they look like it."""
BEGINNING = 4096
MAX_ENTRIES = 10_000
MAX_NAMED = 5
EXAMPLE = (
    "write a table captions.csv with the first line image,caption and then one line per caption, such as "
    "dog.jpg,A dog runs"
)


def caption_files_hint(folder: str | os.PathLike[str]) -> str:
    """Return what to try for a folder in place of a caption file: its caption files, or what one looks like."""
    found = caption_files(folder)
    if not found:
        return f"it has no caption file: {EXAMPLE}"
    if len(found) == 1:
        return f"did you mean {found[0]}?"
    more = f" or {len(found) - MAX_NAMED:,} others" if len(found) > MAX_NAMED else ""
    return f"name one of its caption files: {', '.join(found[:MAX_NAMED])}{more}"


def caption_files(folder: str | os.PathLike[str]) -> list[str]:
    """List the files in a folder that may have captions; those named after captions come first."""
    try:
        with os.scandir(folder) as entries:
            paths = sorted(entry.path for entry in islice(entries, MAX_ENTRIES) if entry.is_file())
    except OSError:
        return []
    found = [path for path in paths if path.lower().endswith(TABLES) or (path.lower().endswith(OTHERS) and _has(path))]
    return sorted(found, key=lambda path: "caption" not in os.path.basename(path).lower())


def _has(path: str) -> bool:
    """Return whether a file begins like JSON, like Flickr's token.txt, or like a table with a column of captions."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            beginning = file.read(BEGINNING).lstrip()
    except OSError:
        return False
    header = beginning.partition("\n")[0].lower()
    return beginning[:1] in ("{", "[") or TOKEN.match(beginning) is not None or "caption" in header
