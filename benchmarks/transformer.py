"""Training steps and decoding of a transformer, beside PyTorch and beside an LSTM with about as many parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks import decoding, shapes, steps
from benchmarks.session import Session
from benchmarks.shapes import Shape

IMAGES = (256, 64, 1)
"""Numbers of images that are decoded together."""


def lstm(shape: Shape) -> Shape:
    """Return the LSTM that is beside it, without regions."""
    return Shape("lstm", shape.captions, shape.vocab, shape.feature, shape.hidden, 2 * shape.hidden)


def measure(session: Session) -> dict[str, Any]:
    """Time the step of every transformer, and the decoding of the first."""
    chosen = (shapes.QUICK_TRANSFORMER,) if session.quick else shapes.TRANSFORMERS
    trained = {shape.key: steps.measure_shape(session, shape, {"lstm": lstm(shape)}) for shape in chosen}
    shape = chosen[0] if session.quick else replace(chosen[0], captions=max(IMAGES))
    counts = {str(count): count for count in IMAGES if count <= shape.captions}
    decoded = decoding.measure_shape(session, shape, counts, {"lstm": lstm(shape)})
    sizes = {shape.key: {"transformer": parameters(shape), "lstm": parameters(lstm(shape))} for shape in chosen}
    return {"steps": trained, "decoding": decoded, "parameters": sizes}


def parameters(shape: Shape) -> int:
    return sum(w.size for w in shapes.parameters(shape).values())
