"""The album page: one HTML file with the captions of photographs, linked from where they are, and a text filter.

The data of the page are a JSON text in it, which templates/album.js draws as one scrolls.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from captioner.captioning.caption import COLUMNS, MARKS
from captioner.errors import printable
from captioner.files.atomic import remove_temporary_files, replacing, writing
from captioner.photos.album import Entry
from captioner.report.template import DOCTYPE, UNSAFE, load_script, render

MARKER, START = b'<meta name="generator" content="captioner album">', 1024
"""What identifies an album page among its first `START` bytes."""
PLACEHOLDER = "(the data of the page)"


def is_album_page(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is an album page, or empty: what may be written anew."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        start = file.read(START)
    return not start or (start.startswith(DOCTYPE) and MARKER in start)


def write_album_page(path: Path, entries: Iterable[Entry]) -> str:
    """Write the page of photographs, and return what was written. They are linked by relative URLs, and not read.

    Raises: CaptionerError if the page cannot be written; an existing file is then unchanged.
    """
    script = load_script("common.js", "grid.js", "album.js")
    page = render("album.html", title=printable(path.stem), placeholder=PLACEHOLDER, script=script)
    before, _, after = page.rpartition(PLACEHOLDER.encode())
    folder, count = os.path.realpath(path.parent), 0
    remove_temporary_files(path)
    may_replace = partial(is_album_page, path)
    with writing(path), replacing(path, may_replace) as temporary, open(temporary, "wb") as file:
        file.write(before + b'{"photographs": [')
        for entry in entries:
            place = os.path.relpath(entry.path, folder)
            values = values_of(entry) | {"url": quote(os.fsencode(place)), "name": printable(place)}
            file.write((b",\n" if count else b"\n") + _to_json(values))
            count += 1
        meanings = {name: mark.meaning for name, mark in MARKS.items()}
        file.write(b"\n],\n" + _to_json({"meanings": meanings})[1:] + after)
    return f"{path}: {count:,} photograph{'s' * (count != 1)}; open it in a browser"


def values_of(entry: Entry) -> dict[str, Any]:
    """Return what a page shows of a photograph, without what is empty."""
    shown = {name: column.value(entry.caption) for name, column in COLUMNS.items() if column.on_page}
    values = shown | {"corrected": entry.correction is not None}
    return {name: value for name, value in values.items() if value}


def _to_json(value: object) -> bytes:
    """Return a value as JSON that cannot end a script element, with escapes like those of `render`."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return UNSAFE.sub(lambda match: json.dumps(repr(match[0])[1:-1])[1:-1], text).encode()
