"""Read the scores of a model: the output of `captioner evaluate --json`, one line per split."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from captioner.config.options import Decode
from captioner.errors import DataError, printable, quoted
from captioner.metrics import NAMES
from captioner.storage.files import read_text

STATISTICS = ("perplexity", "true", "pointing", "distinct", "novel", "repeats")
"""Statistics that a card shows if they are known."""
MAX_SCORE = 10.0
"""The maximum of CIDEr-D as a fraction; the other metrics have the maximum 1."""


@dataclass(frozen=True)
class SplitScores:
    """Scores of the captions of one split, with 95 % confidence intervals.

    `worst` has captions with the lowest CIDEr-D, each with a reference.
    """

    split: str
    images: int
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    statistics: Mapping[str, float]
    worst: list[tuple[str, str]]


def read_scores(path: Path, decode: Decode) -> list[SplitScores]:
    """Read a file of scores, measured with the decoding options `decode`; files without these are accepted.

    Raises: DataError for a file that is no such output, or for scores of other decoding options.
    """
    text = read_text(path, "the output of `captioner evaluate --json`")
    splits: dict[str, SplitScores] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise DataError(f"{where}: expected a line of `captioner evaluate --json`, got {quoted(line, 40)}")
        _check_decode(values.get("decode"), decode, where)
        scores = _parse(values, where)
        if scores.split in splits:
            raise DataError(f"{where}: split {printable(scores.split, 60)}: given twice; keep one line per split")
        splits[scores.split] = scores
    if not splits:
        raise DataError(f"{path}: expected scores, got an empty file; write it with `captioner evaluate --json`")
    return list(splits.values())


def _check_decode(measured: Any, decode: Decode, where: str) -> None:
    options = measured if isinstance(measured, dict) else {}
    for name, value in asdict(decode).items():
        if name in options and options[name] != value:
            shown = "null" if value is None else f"{value:g}" if isinstance(value, float) else value
            raise DataError(
                f"{where}: measured with decode.{name} {quoted(options[name], 40)}, but the model has {shown}; "
                f"try captioner evaluate -o decode.{name}={shown}"
            )


def _parse(values: Mapping[str, Any], where: str) -> SplitScores:
    split, images, intervals = values.get("split"), values.get("images"), values.get("intervals")
    if not isinstance(split, str) or type(images) is not int or images < 1 or not isinstance(intervals, dict):
        raise DataError(
            f"{where}: expected split, images and intervals as in the output of `captioner evaluate --json`, got "
            f"{quoted(sorted(values), 80)}"
        )
    scores = {name: _number(values.get(name), f"{where}: {name}", MAX_SCORE) for name in NAMES}
    bounds: dict[str, tuple[float, float]] = {}
    for name in NAMES:
        pair = intervals.get(name)
        low, high = pair if isinstance(pair, list) and len(pair) == 2 else (None, None)
        place = f"{where}: intervals: {name}"
        bounds[name] = _number(low, place, MAX_SCORE), _number(high, place, MAX_SCORE)
    known = {
        name: _number(values[name], f"{where}: {name}", 1e9) for name in STATISTICS if values.get(name) is not None
    }
    return SplitScores(split, images, scores, bounds, known, list(_worst(values.get("worst"))))


def _number(value: Any, where: str, maximum: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= maximum:
        raise DataError(f"{where}: expected a number from 0 to {maximum:g}, got {quoted(value, 40)}")
    return float(value)


def _worst(entries: Any) -> Iterator[tuple[str, str]]:
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(references := entry.get("references"), list) and references:
            yield str(entry.get("caption", "")), str(references[0])
