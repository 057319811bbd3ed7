"""Time of a training step as a function of each size; the others are those of the LSTM with N = 64, V = 1,004."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks import shapes
from benchmarks.floor import Floor
from benchmarks.ours import Ours
from benchmarks.session import Session, set_library_threads
from benchmarks.shapes import Shape
from benchmarks.timing import Contender

BASE = Shape("lstm", 64, 1004)
SIZES: dict[str, tuple[str, tuple[int, ...]]] = {
    "N": ("captions", (8, 16, 32, 64, 128, 256, 512)),
    "T": ("columns", (5, 9, 17, 33, 65)),
    "H": ("hidden", (64, 128, 256, 512, 1024)),
    "V": ("vocab", (250, 500, 1000, 2000, 4000, 8000, 16000)),
}
"""For each letter the field of `Shape` and its values. Captions of T columns have T - 2 words."""


def measure(session: Session) -> dict[str, Any]:
    """Time a step and its GEMM floor with one thread for every size, and count the words of the batch."""
    results: dict[str, Any] = {}
    for letter, (name, values) in SIZES.items():
        base, values = (shapes.QUICK[0], values[:2]) if session.quick else (BASE, values)
        results[letter] = [_measure(session, base, letter, name, value) for value in values]
    return results


def _measure(session: Session, base: Shape, letter: str, name: str, value: int) -> dict[str, Any]:
    lengths = {"mean": float(value), "shortest": value - 2} if name == "columns" else {}
    shape = replace(base, **{name: value}, **lengths)
    params, batch = shapes.parameters(shape), shapes.batch(shape)
    one_thread = partial(set_library_threads, "pool", 1)
    contenders = {
        "ours": Contender(Ours(shape, params, batch).step, one_thread),
        "floor": Contender(Floor(shape, params, batch).step, one_thread),
    }
    return {"size": value, "words": batch.words, **session.race(f"{letter} = {value}", contenders)}
