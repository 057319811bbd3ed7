"""Time of one training step: forward, backward, clipping, Adam."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeAlias

from benchmarks import checks, shapes
from benchmarks.loops import STEPS, Loops
from benchmarks.ours import FLOORS, Ours
from benchmarks.session import Session, set_library_threads
from benchmarks.shapes import Batch, Shape
from benchmarks.timing import Contender
from captioner.arrays import Params


class Learner(Protocol):
    """A model, the batch it trains on, the library that computes it, and the tolerance of its results."""

    library: str
    tolerance: checks.Tolerance

    def gradients(self) -> tuple[float, Params]:
        """Return the loss and gradients of the current parameters, without dropout."""

    def step(self) -> float:
        """Take one training step; return the loss before it."""


Make: TypeAlias = Callable[[Shape, Params, Batch], Learner]


RECURRENT_ONLY = ("loops", "torch packed")
"""Contenders that have no transformer."""


def learners(with_torch: bool, threads: int = 1, decoder: str = "lstm") -> dict[str, Make]:
    """Return all trainable contenders of a decoder by name; PyTorch is imported only with `with_torch`."""
    table: dict[str, Make] = {"ours": partial(Ours, threads=threads), "loops": Loops}
    if with_torch:
        from benchmarks.torch_peer import VARIANTS, Peer

        table |= {name: partial(Peer, name) for name in VARIANTS}
    return {name: make for name, make in table.items() if decoder in STEPS or name not in RECURRENT_ONLY}


def measure(session: Session) -> dict[str, Any]:
    """Time the step of each contender for every shape and number of threads."""
    measured = shapes.QUICK if session.quick else shapes.COCO + shapes.FLICKR8K
    return {shape.key: measure_shape(session, shape) for shape in measured}


def measure_transformers(session: Session) -> dict[str, Any]:
    """Time the step of each contender for every transformer."""
    measured = (shapes.QUICK_TRANSFORMER,) if session.quick else shapes.TRANSFORMERS
    return {"steps": {shape.key: measure_shape(session, shape) for shape in measured}}


def measure_shape(session: Session, shape: Shape) -> dict[str, Any]:
    """Time the contenders of a shape.

    Raises: WrongResultError if a loss or gradients differ from those of the loops, or of captioner for a transformer,
    or the loss does not decrease.
    """
    params, batch = shapes.parameters(shape), shapes.batch(shape)
    first = (Loops if shape.decoder in STEPS else Ours)(shape, params, batch).gradients()
    floor = FLOORS[shape.decoder](shape, params, batch)
    results: dict[str, Any] = {"words": batch.words, "threads": {}, "loops": {}}
    for count in session.threads:
        makers = learners(session.has_torch, count, shape.decoder)
        trained = {name: make(shape, params, batch) for name, make in makers.items()}
        for name, learner in trained.items():
            set_library_threads(learner.library, count)
            checks.same_gradients(name, learner.gradients(), first, learner.tolerance)
            loss = learner.step()
            if not any(shape.dropout):
                checks.same_loss(f"{name}, in training", loss, first[0], learner.tolerance)
        calls = {name: (learner.step, learner.library) for name, learner in trained.items()}
        calls["floor"] = floor.step, "numpy"
        contenders = {
            name: Contender(call, partial(set_library_threads, library, count))
            for name, (call, library) in calls.items()
        }
        # The loops allocate so much memory that they slow down the next contender: they get a separate race.
        separate = {name: contenders.pop(name) for name in ("loops",) if name in contenders}
        results["threads"][str(count)] = session.race(f"{shape.key}, threads {count}", contenders)
        if separate:
            separate["ours"] = contenders["ours"]
            results["loops"][str(count)] = session.race(f"{shape.key}, threads {count}, loops", separate)
        for name, learner in trained.items():
            checks.learns(name, first[0], learner.gradients()[0])
    return results
