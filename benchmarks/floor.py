"""GEMM floor: the matrix products that every implementation of a step needs, one call each.

They cover unmasked positions and distinct words only. Outputs are preallocated, and the recurrent weights have the
fastest layout for one call; blocked products can be faster.
"""

from __future__ import annotations

import numpy as np

from benchmarks.shapes import NULL, Batch, Shape
from captioner.arrays import Array, Params
from captioner.layers import CELLS
from captioner.layers.packing import pack


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
        gates = CELLS[shape.cell].gates * shape.hidden
        self.packing = pack((batch.captions[:, 1:] != NULL).sum(axis=1))
        self.params, self.features, self.x = params, batch.features, of(inputs, shape.wordvec)
        self.h, self.da, self.dax = of(rows, shape.hidden), of(rows, gates), of(inputs, gates)
        self.dscores, self.dh0 = of(rows, shape.vocab), of(shape.captions, shape.hidden)
        self.Wh, self.WhT = spread(params["Wh"]), spread(params["Wh"].T)
        self.out = {
            name: np.empty_like(like)
            for name, like in {
                **{f"d{name}": w for name, w in params.items() if w.ndim > 1 and name != "W_embed"},
                "h0": self.dh0,
                "ax": self.dax,
                "ah": self.da,
                "scores": self.dscores,
                "dh": self.h,
                "dh_prev": self.h,
                "dx": self.x,
            }.items()
        }

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
