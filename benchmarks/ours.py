"""captioner's training step, one `next` of the solver, and its GEMM floor.

The floor is the matrix products that every implementation of a step needs, one call each, for unmasked positions and
distinct words only. Outputs are preallocated, and the recurrent weights have the fastest layout for one call; blocked
products can be faster. A transformer's floor has no products of queries, keys and values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.shapes import NULL, Batch, Shape, regions
from captioner import arrays
from captioner.arrays import Array, Params, SharedRows
from captioner.layers import CELLS
from captioner.layers.dropout import NO_DROPOUT
from captioner.layers.packing import pack
from captioner.model.build import DECODERS
from captioner.model.captioning_model import CaptioningModel
from captioner.optim import SCHEDULES, UPDATE_RULES, Hyper, Span
from captioner.parallel.thread_pool import ThreadPool
from captioner.training.solver import Plan, TrainState, steps

RATE, CLIP = 1e-4, 5.0
"""Settings of every contender: a learning rate that hardly changes the parameters, and the usual clip norm."""


class Cycle:
    """An endless cycle over batches in memory; all have the same regions, if any."""

    def __init__(self, batches: Sequence[Batch], shared: SharedRows | None) -> None:
        self._batches, self._regions = batches, shared

    def batch(self, step: int, /) -> arrays.Batch:
        return arrays.Batch(*self._batches[step % len(self._batches)], self._regions)


def training(
    model: CaptioningModel, batches: Sequence[Batch], pool: ThreadPool, shared: SharedRows | None = None
) -> Callable[[], float]:
    """Return a function that trains on the next batch and returns its loss."""
    rule, span = UPDATE_RULES["adam"], Span(10**9, 10**9)
    plan = Plan(rule, Hyper(RATE), SCHEDULES["constant"], span, clip_norm=CLIP)
    records = steps(model, Cycle(batches, shared), TrainState.fresh(model, rule), plan, pool=pool)
    return lambda: next(records).loss


class Ours:
    """One captioner model on one batch; it uses a thread pool."""

    def __init__(self, shape: Shape, params: Params, batch: Batch, threads: int = 1) -> None:
        self.batch, self.regions, self.pool = batch, regions(shape), ThreadPool(threads)
        copies = {name: w.copy() for name, w in params.items()}
        trained = DECODERS[shape.decoder](shape.sizes, copies, dropout=shape.dropout)
        self.model = DECODERS[shape.decoder](shape.sizes, trained.params, dropout=NO_DROPOUT)
        self.step = training(trained, [batch], self.pool, self.regions)

    def gradients(self) -> tuple[float, Params]:
        return self.model.loss(arrays.Batch(*self.batch, self.regions), pool=self.pool)


def spread(weights: Array) -> Array:
    """Copy a matrix to a row stride that is no power of two, which BLAS packs fastest."""
    wide = np.empty((len(weights), weights.shape[1] + 16), weights.dtype)[:, : weights.shape[1]]
    wide[...] = weights
    return wide


class Floor:
    """The products of one step; the inputs are random and never outputs, so that values cannot grow."""

    def __init__(self, shape: Shape, params: Params, batch: Batch) -> None:
        rng = np.random.default_rng(2)

        def of(*size: int) -> Array:
            return rng.standard_normal(size, dtype=np.float32)

        read = batch.captions[:, :-1][batch.captions[:, 1:] != NULL]
        # With dropout on word vectors, equal words have different inputs.
        rows, inputs = len(read), len(read) if shape.dropout.words else len(np.unique(read))
        gates = CELLS[shape.decoder].gates * shape.hidden
        self.packing = pack((batch.captions[:, 1:] != NULL).sum(axis=1))
        self.params, self.features, self.x = params, batch.features, of(inputs, shape.wordvec)
        self.h, self.da, self.dax = of(rows, shape.hidden), of(rows, gates), of(inputs, gates)
        self.dscores, self.dh0 = of(rows, shape.vocab), of(shape.captions, shape.hidden)
        self.Wh, self.WhT = spread(params["Wh"]), spread(params["Wh"].T)
        outputs = {f"d{name}": w for name, w in params.items() if w.ndim > 1 and name != "W_embed"}
        outputs |= {"h0": self.dh0, "ax": self.dax, "ah": self.da, "scores": self.dscores}
        outputs |= {"dh": self.h, "dh_prev": self.h, "dx": self.x}
        self.out = {name: np.empty_like(like) for name, like in outputs.items()}

    def step(self) -> None:
        p, out, steps = self.params, self.out, self.packing.steps[0]
        np.matmul(self.features, p["W_proj"], out=out["h0"])
        np.matmul(self.x, p["Wx"], out=out["ax"])
        for start, end in steps:
            np.matmul(self.h[start:end], self.Wh, out=out["ah"][start:end])
        np.matmul(self.h, p["W_vocab"], out=out["scores"])
        np.matmul(self.h.T, self.dscores, out=out["dW_vocab"])
        np.matmul(self.dscores, p["W_vocab"].T, out=out["dh"])
        for start, end in reversed(steps):
            np.matmul(self.da[start:end], self.WhT, out=out["dh_prev"][start:end])
        np.matmul(self.h.T, self.da, out=out["dWh"])
        np.matmul(self.x.T, self.dax, out=out["dWx"])
        np.matmul(self.dax, p["Wx"].T, out=out["dx"])
        np.matmul(self.features.T, self.dh0, out=out["dW_proj"])


class TransformerFloor:
    """The products of one step of a transformer with its parameters: y = x W, dx = dy Wᵀ, dW = xᵀ dy."""

    def __init__(self, shape: Shape, params: Params, batch: Batch) -> None:
        rng, self.products = np.random.default_rng(2), []
        memory = shape.captions * (shape.regions + 1) + 1
        inputs = {"W_proj": shape.captions, "W_region": shape.captions * shape.regions}
        for name, w in params.items():
            if w.ndim == 1 or name == "W_embed":
                continue
            parts = [(inputs.get(name, batch.words), w)]
            if name.endswith("cross_W"):
                parts = [(batch.words, w[:, : shape.hidden]), (memory, w[:, shape.hidden :])]
            for rows, W in parts:
                x, dy = (rng.standard_normal((rows, size), dtype=np.float32) for size in W.shape)
                outputs = [np.empty_like(dy), np.empty_like(W), *([] if name in inputs else [np.empty_like(x)])]
                self.products.append((x, W, dy, *outputs))

    def step(self) -> None:
        for x, W, dy, y, dW, *dx in self.products:
            np.matmul(x, W, out=y)
            np.matmul(x.T, dy, out=dW)
            for out in dx:
                np.matmul(dy, W.T, out=out)


FLOORS: Mapping[str, type[Floor | TransformerFloor]] = {
    **dict.fromkeys(CELLS, Floor),
    "transformer": TransformerFloor,
}
"""The floor of every decoder."""
