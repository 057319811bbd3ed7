"""Ablation of the optimizations of a training step: the full step against the step without one of them."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from benchmarks import checks, shapes
from benchmarks.ours import Ours
from benchmarks.session import Session
from benchmarks.shapes import Shape
from benchmarks.timing import Contender
from captioner import optim
from captioner.arrays import Array
from captioner.layers import scan
from captioner.layers.cell import CellState
from captioner.layers.embedding import word_embedding_backward
from captioner.layers.packing import Packing, pack
from captioner.layers.scan import ScanCache, scan_backward, scan_forward
from captioner.model import captioning_rnn
from captioner.model import words as model

WHOLE = 1 << 60

Replacement: TypeAlias = tuple[ModuleType, str, Any]
"""A module, a name in it and its replacement."""


class PlainFactor:
    """Wh itself in place of a `BlockedMatrix`, without blocks, padding and buffers."""

    def __init__(self, W: Array, *others: object) -> None:
        self.W = W

    def product(self, x: Array, worker: int) -> Array:
        return (x[:, 0] if x.ndim == 4 else x) @ self.W


def _padded(lengths: Array, parts: int, image: Array | None = None) -> Packing:
    return pack(np.full(len(lengths), lengths.max()), parts, image)


def _every_row(cell: Any, inputs: Array, ids: Array, *others: Any) -> tuple[Array, tuple[ScanCache, Array, int]]:
    hidden, cache = scan_forward(cell, inputs[ids], None, *others)
    return hidden, (cache, ids, len(inputs))


def _every_row_back(
    cell: Any, dh: Array, cache: tuple[ScanCache, Array, int], *others: Any
) -> tuple[Array, CellState, Any]:
    inner, ids, distinct = cache
    dinputs, *grads = scan_backward(cell, dh, inner, *others)
    return word_embedding_backward(dinputs, (ids, (distinct, dinputs.shape[1]))), *grads


def _add_at(dout: Array, cache: tuple[Array, tuple[int, ...]]) -> Array:
    ids, shape = cache
    dW = np.zeros(shape, dout.dtype)
    np.add.at(dW, ids.reshape(-1), dout.reshape(-1, *shape[1:]))
    return dW


IDEAS: dict[str, list[Replacement]] = {
    "packed sequences": [(model, "pack", _padded)],
    "x Wx once per distinct word": [
        (captioning_rnn, "scan_forward", _every_row),
        (captioning_rnn, "scan_backward", _every_row_back),
    ],
    "rows sorted by word, one sum per word (without it: np.add.at)": [
        (model, "word_embedding_backward", _add_at),
        (scan, "word_embedding_backward", _add_at),
    ],
    "Adam in cache-sized chunks": [(optim, "CHUNK", WHOLE)],
    "Wh copied for its products": [(scan, "BlockedMatrix", PlainFactor)],
}
"""For each optimization what disables it."""
SHAPES = tuple(shape for shape in shapes.COCO if (shape.captions, shape.vocab) != (50, 1004))
"""N = 50 is left out: it lies between N = 25 and N = 64."""


def measure(session: Session) -> dict[str, Any]:
    """Time a step of each shape with all optimizations (`ours`) and without each, with one thread."""
    return {shape.key: _measure(session, shape) for shape in (shapes.QUICK[:1] if session.quick else SHAPES)}


def _measure(session: Session, shape: Shape) -> dict[str, Any]:
    builds = [("captioner", partial(_build, name, shape)) for name in ("ours", *IDEAS)]
    return session.race(f"{shape.key}, without", 1, builds, _checked)["one thread"]


def _build(name: str, shape: Shape) -> dict[str, Ours]:
    """Disable an idea in this process and build the learner."""
    for module, attribute, value in IDEAS.get(name, []):
        setattr(module, attribute, value)
    return {name: Ours(shape, shapes.parameters(shape), shapes.batch(shape))}


def _checked(contenders: dict[str, Contender]) -> dict[str, dict[str, Contender]]:
    expected = contenders["ours"].ask("gradients")
    for name in IDEAS:
        checks.same_gradients(f"without {name}", contenders[name].ask("gradients"), expected)
    return {"one thread": contenders}
