"""captioner's training step through its public API: one `next` of the solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.checks import FLOAT32
from benchmarks.shapes import Batch, Shape
from captioner import arrays
from captioner.arrays import Params
from captioner.layers.dropout import NO_DROPOUT
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.optim.schedules import SCHEDULES, Span
from captioner.optim.update_rules import UPDATE_RULES, Hyper
from captioner.parallel.thread_pool import ThreadPool
from captioner.training.solver import Plan, TrainState, steps

RATE, CLIP = 1e-4, 5.0
"""Settings of every contender: a learning rate that hardly changes the parameters, and the usual clip norm."""


class Cycle:
    """An endless cycle over batches in memory."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches

    def batch(self, step: int, /) -> arrays.Batch:
        return arrays.Batch(*self._batches[step % len(self._batches)])


def training(model: CaptioningRNN, batches: Sequence[Batch], pool: ThreadPool) -> Callable[[], float]:
    """Return a function that trains on the next batch and returns its loss."""
    rule, span = UPDATE_RULES["adam"], Span(10**9, 10**9)
    plan = Plan(rule, Hyper(RATE), SCHEDULES["constant"], span, clip_norm=CLIP)
    records = steps(model, Cycle(batches), TrainState.fresh(model, rule), plan, pool=pool)
    return lambda: next(records).loss


class Ours:
    """One captioner model on one batch; it uses a thread pool, with one BLAS thread."""

    library, tolerance = "pool", FLOAT32

    def __init__(self, shape: Shape, params: Params, batch: Batch, threads: int = 1) -> None:
        self.shape, self.batch = shape, batch
        self.params, self.pool = {name: w.copy() for name, w in params.items()}, ThreadPool(threads)
        self.step = training(CaptioningRNN(shape.sizes, self.params, dropout=shape.dropout), [batch], self.pool)

    def gradients(self) -> tuple[float, Params]:
        model = CaptioningRNN(self.shape.sizes, self.params, dropout=NO_DROPOUT)
        return model.loss(*self.batch, pool=self.pool)
