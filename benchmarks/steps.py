"""Time of one training step: forward, backward, clipping, Adam."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks import checks, shapes
from benchmarks.loops import STEPS, Loops
from benchmarks.ours import FLOORS, Ours
from benchmarks.session import Session
from benchmarks.shapes import Shape
from benchmarks.timing import Contender
from captioner.arrays import Params


def learners(library: str, threads: int = 1, decoder: str = "lstm") -> Mapping[str, Any]:
    """Return the constructors of a library's contenders, which have a process in common.

    Each has `step`, a training step that returns the loss before it, and, except the floor, `gradients`, the loss and
    gradients without dropout.
    The names of PyTorch's float32 variants start with `torch`. `loops` and packed sequences have no transformer.
    """
    if library == "torch":
        from benchmarks.torch_peer import VARIANTS, Peer

        return {name: partial(Peer, name) for name in VARIANTS if decoder in STEPS or name != "torch packed"}
    constructors: dict[str, Mapping[str, Any]] = {
        "captioner": {"ours": partial(Ours, threads=threads)},
        "loops": {"loops": Loops} if decoder in STEPS else {},
        "floor": {"floor": FLOORS[decoder]},
    }
    return constructors[library]


def build(library: str, shape: Shape, threads: int = 1) -> dict[str, Any]:
    """Build the contenders of a library in their process."""
    params, batch = shapes.parameters(shape), shapes.batch(shape)
    return {name: make(shape, params, batch) for name, make in learners(library, threads, shape.decoder).items()}


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
    or its decrease in two steps from captioner's.
    """
    params, batch = shapes.parameters(shape), shapes.batch(shape)
    first = (Loops if shape.decoder in STEPS else Ours)(shape, params, batch).gradients()
    libraries = ["captioner", *["loops"] * (shape.decoder in STEPS), *["torch"] * session.has_torch, "floor"]
    results: dict[str, Any] = {"words": batch.words, "threads": {}, "loops": {}}
    for count in session.threads:
        builds = [(library, partial(build, library, shape, count)) for library in libraries]
        races = session.race(f"{shape.key}, threads {count}", count, builds, partial(_heats, shape, first))
        for heat, race in races.items():
            results[heat][str(count)] = race
    return results


def _heats(
    shape: Shape, first: tuple[float, Params], contenders: dict[str, Contender]
) -> dict[str, dict[str, Contender]]:
    """Check that the contenders compute the same and learn; return two heats, because the loops take much longer."""
    expected: float | None = None
    for name, learner in contenders.items():
        if name == "floor":
            continue
        tolerance = checks.BFLOAT16 if name == "bfloat16" else checks.FLOAT32
        if name == "loops" and any(shape.dropout):  # the loops have no dropout
            tolerance = tolerance._replace(decrease=np.inf)
        checks.same_gradients(name, learner.ask("gradients"), first, tolerance)
        loss = learner.ask("step")
        if not any(shape.dropout):
            checks.same_loss(f"{name}, in training", loss, first[0], tolerance)
        learner.ask("step")
        decrease = first[0] - learner.ask("gradients")[0]
        expected = decrease if expected is None else expected  # captioner is the first
        checks.same_decrease(name, decrease, expected, tolerance)
    heats = {"threads": {name: contender for name, contender in contenders.items() if name != "loops"}}
    return heats | ({"loops": {name: contenders[name] for name in ("loops", "ours")}} if "loops" in contenders else {})
