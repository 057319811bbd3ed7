"""How the cost of a training step grows with each size, the others being those of LSTM, N = 64, V = 1,004."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks import shapes
from benchmarks.floor import Floor
from benchmarks.ours import Ours
from benchmarks.session import Session, give
from benchmarks.shapes import Shape
from benchmarks.timing import Contender

BASE = Shape("lstm", 64, 1004)
SIZES: dict[str, tuple[str, tuple[int, ...]]] = {
    "N": ("captions", (8, 16, 32, 64, 128, 256, 512)),
    "T": ("columns", (5, 9, 17, 33, 65)),
    "H": ("hidden", (64, 128, 256, 512, 1024)),
    "V": ("vocab", (250, 500, 1000, 2000, 4000, 8000, 16000)),
}
"""What grows: the field of a shape and its values. Captions of T columns have T - 2 words."""


def measure(session: Session) -> dict[str, Any]:
    """For every size, milliseconds of a step and of its floor with one thread, and the words of the batch."""
    results: dict[str, Any] = {}
    for letter, (name, values) in SIZES.items():
        results[letter] = [_measure(session, letter, name, value) for value in values[: 2 if session.quick else None]]
    return results


def _measure(session: Session, letter: str, name: str, value: int) -> dict[str, Any]:
    longest = {"mean": float(value), "shortest": value - 2} if name == "columns" else {}
    shape = replace(BASE, **{name: value}, **longest)
    params, batch = shapes.parameters(shape), shapes.batch(shape)
    one_thread = partial(give, "team", 1)
    contenders = {
        "ours": Contender(Ours(shape, params, batch).step, one_thread),
        "floor": Contender(Floor(shape, params, batch).step, one_thread),
    }
    return {"size": value, "words": batch.words, **session.race(f"{letter} = {value}", contenders)}
