"""Reading of optional JSON files, such as the summary of a run."""

from __future__ import annotations

import json
import os
from typing import Any

from captioner.errors import CaptionerError
from captioner.storage.files import read_text


def read_json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the JSON object in a file; return {} if the file is missing, damaged or contains another value."""
    try:
        value = json.loads(read_text(path))
    except (CaptionerError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
