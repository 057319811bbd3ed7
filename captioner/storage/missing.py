"""What to try when a file is missing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice

MAX_ENTRIES = 1000
"""The number of names in a folder that are compared with a missing one."""
MAX_NAME = 255
NUMBERS = re.compile(r"\d+")


def remedy(path: str | os.PathLike[str]) -> str:
    """Return what to try for a missing file: a similar name in its folder, or where to look."""
    try:
        return _remedy(os.fspath(path))
    except OSError:  # such as a deleted current folder
        return "check the name"


def _remedy(name: str) -> str:
    if os.path.islink(name):
        return f"it is a broken link to {os.readlink(name)}"
    folder, base = os.path.split(name)
    missing = list(_missing_folders(folder))
    if missing:
        return f"folder not found: {missing[-1]}"
    for similar in _similar(folder or ".", base):
        return f"did you mean {os.path.join(folder, similar)}?"
    if os.path.isabs(name):
        return "check the name"
    return f"relative names start at {os.path.realpath('.')}"


def _missing_folders(folder: str) -> Iterator[str]:
    """Yield a missing folder and its missing parents, innermost first."""
    while folder and not os.path.isdir(folder):
        yield folder
        parent = os.path.dirname(folder)
        folder = "" if parent == folder else parent


def _similar(folder: str, name: str) -> list[str]:
    """Find the most similar name in a folder, up to case; photo-2.jpg is another photograph than photo-1.jpg."""
    with os.scandir(folder) as entries:
        found = [entry.name for entry in islice(entries, MAX_ENTRIES)]
    names = {one.lower(): one for one in found if NUMBERS.findall(one) == NUMBERS.findall(name)}
    return [names[similar] for similar in get_close_matches(name[:MAX_NAME].lower(), names, 1, 0.75)]
