"""history.jsonl: one JSON object per logged step, validation or warning; first one for `train.init_from`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from captioner.inference.package_info import BASE_MODELS
from captioner.storage.files import read_first_json_object

INIT_FROM = "init_from"
KINDS = (INIT_FROM, "step", "validation", "warning")
AT_END = "at_end"
"""Marks records that exist only because the run ended; `resume` removes them."""


def truncate(lines: str, step: int) -> str:
    """Keep the records of steps up to `step`, without those marked `at_end` and lines cut short by a kill."""
    return "".join(line for line in lines.splitlines(keepends=True) if is_kept(line, step))


def is_kept(line: str, step: int) -> bool:
    """Return whether a line is a whole record of a step up to `step`, and not marked `at_end`."""
    try:
        record = json.loads(line)
        return float(record["step"]) <= step and AT_END not in record
    except (ValueError, KeyError, TypeError):
        return False


def first_record(path: Path) -> dict[str, Any] | None:
    """Return the first record of a history, or None if the file is missing or does not begin like one."""
    record = read_first_json_object(path)
    return record if record.get("kind") in KINDS and "step" in record else None


def initialization(path: Path) -> dict[str, Any] | None:
    """Return what `initialize_from` recorded about `train.init_from`, if a history has it."""
    record = first_record(path) or {}
    if record.get("kind") != INIT_FROM:
        return None
    return {name: record.get(name) for name in ("checkpoint", "shared_words", "words", BASE_MODELS)}
