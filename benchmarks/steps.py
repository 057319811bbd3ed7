"""One training step: forward, backward, clip, Adam."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeAlias

from benchmarks import checks, shapes
from benchmarks.floor import Floor
from benchmarks.loops import Loops
from benchmarks.ours import Ours
from benchmarks.session import Session, give
from benchmarks.shapes import Batch, Shape
from benchmarks.timing import Contender
from captioner.arrays import Params


class Learner(Protocol):
    """A model and the batch that it learns, computed by `library`."""

    library: str

    def gradients(self) -> tuple[float, Params]:
        """The loss and gradients of the parameters as they stand, without dropout."""

    def step(self) -> float:
        """Learn once; the loss before."""


Make: TypeAlias = Callable[[Shape, Params, Batch], Learner]


def learners(with_torch: bool, threads: int = 1) -> dict[str, Make]:
    """All that train, by name; ours with a team of so many. PyTorch is not imported unless it is asked for."""
    table: dict[str, Make] = {"ours": partial(Ours, threads=threads), "loops": Loops}
    if with_torch:
        from benchmarks.torch_peer import VARIANTS, Peer

        table |= {name: partial(Peer, name) for name in VARIANTS}
    return table


def measure(session: Session) -> dict[str, Any]:
    """For every shape and number of threads, each contender's time of a step."""
    measured = shapes.QUICK if session.quick else shapes.COCO + shapes.FLICKR8K
    return {shape.key: measure_shape(session, shape) for shape in measured}


def measure_shape(session: Session, shape: Shape) -> dict[str, Any]:
    """Raises: WrongResultError when a contender's loss or gradients are not the loops', or it does not learn."""
    params, batch = shapes.parameters(shape), shapes.batch(shape)
    first = Loops(shape, params, batch).gradients()
    floor = Floor(shape, params, batch)
    results: dict[str, Any] = {"words": batch.words, "threads": {}, "loops": {}}
    for count in session.threads:
        makers = learners(session.has_torch, count)
        trained = {name: make(shape, params, batch) for name, make in makers.items()}
        for name, learner in trained.items():
            give(learner.library, count)
            checks.same_gradients(name, learner.gradients(), first)
            loss = learner.step()
            if not any(shape.dropout):
                checks.same_loss(f"{name}, in training", loss, first[0])
        contenders = {name: Contender(one.step, partial(give, one.library, count)) for name, one in trained.items()}
        contenders["floor"] = Contender(floor.step, partial(give, "numpy", count))
        # The loops fill so much memory that who comes after them is slowed: they have a race of their own with ours.
        beside = {"loops": contenders.pop("loops"), "ours": contenders["ours"]}
        results["threads"][str(count)] = session.race(f"{shape.key}, threads {count}", contenders)
        results["loops"][str(count)] = session.race(f"{shape.key}, threads {count}, loops", beside)
        for name, learner in trained.items():
            checks.learns(name, first[0], learner.gradients()[0])
    return results
