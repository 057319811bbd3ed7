"""Strict JSON: no NaN and no infinity."""

from __future__ import annotations

import json
import math
from typing import Any


def to_json(record: dict[str, Any], indent: int | None = None) -> str:
    """Encode a record as ASCII JSON without control characters; NaN and infinity become null."""
    return json.dumps(_finite(record), indent=indent, allow_nan=False).replace("\x7f", "\\u007f")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
