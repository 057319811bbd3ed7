"""Reading of optional JSON files, such as the summary and the history of a run."""

from __future__ import annotations

import json
import os
from typing import Any

from captioner.errors import CaptionerError
from captioner.storage.files import read_text, regular_file

LINE_LIMIT = 1 << 16


def read_json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the JSON object in a file; return {} if the file is missing, damaged or contains another value."""
    try:
        return _object(read_text(path))
    except CaptionerError:
        return {}


def read_first_json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the JSON object in the first line of a file, of at most `LINE_LIMIT` bytes; {} as for `read_json_object`."""
    try:
        with regular_file(path) as descriptor:
            return _object(os.read(descriptor, LINE_LIMIT).partition(b"\n")[0])
    except CaptionerError:
        return {}


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
