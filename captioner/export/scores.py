"""The scores that a model file states: records of `captioner evaluate --json`, one per split."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from captioner.config.options import Decode
from captioner.errors import DataError, quoted
from captioner.files.user_files import read_text
from captioner.metrics import NAMES

STATISTICS = ("perplexity", "correct", "pointing", "distinct", "novel", "repeats")
"""Statistics that a model file states if they are known."""


def read_scores(path: Path, decode: Decode) -> list[dict[str, Any]]:
    """Read a file of scores, which must have been measured with the decoding options `decode`.

    Raises: DataError for a file that is no such output, or for scores of other decoding options.
    """
    lines = read_text(path, "the output of `captioner evaluate --json`").splitlines()
    scores = [_parse_line(line, decode, f"{path}:{n}") for n, line in enumerate(lines, 1) if line.strip()]
    splits = [record["split"] for record in scores]
    if not scores or len(set(splits)) < len(splits):
        got = f"{len(splits)} of {len(set(splits))} splits"
        raise DataError(f"{path}: expected one line of `captioner evaluate --json` for each split, got {got}")
    return scores


def _parse_line(line: str, decode: Decode, where: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
        measured = values.get("decode") or {}
        record = parse_scores(values)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(
            f"{where}: expected a line of `captioner evaluate --json`, got {quoted(line, 40)} ({quoted(error)})"
        ) from error
    for name, value in asdict(decode).items():
        if name in measured and measured[name] != value:
            shown = "null" if value is None else f"{value:g}" if isinstance(value, float) else value
            raise DataError(
                f"{where}: measured with decode.{name} {quoted(measured[name], 40)}, but the model has {shown}; "
                f"try captioner evaluate -o decode.{name}={shown}"
            )
    return record


def parse_scores(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model file states of a record: split, images, scores, their intervals, and statistics.

    Raises: ValueError, LookupError, TypeError, AttributeError or OverflowError for another record.
    """
    return {
        "split": str(values["split"]),
        "images": int(values["images"]),
        **{name: _number(values[name]) for name in NAMES},
        "intervals": {name: [_number(bound) for bound in values["intervals"][name][:2]] for name in NAMES},
        **{name: _number(values[name]) for name in STATISTICS if values.get(name) is not None},
    }


def _number(value: Any) -> float:
    if not 0 <= value < float("inf"):
        raise ValueError(f"expected a number of at least 0, got {value}")
    return float(value)
