"""Exponential moving average (EMA) of the parameters."""

from __future__ import annotations

from captioner.arrays import Params
from captioner.optim.update_rules import UNSHARDED, Shard, aligned_chunks

EMA = "average"
"""Name of the optimizer slot that stores the EMA of the parameters."""


def update_ema(params: Params, ema: Params, decay: float, t: int, shard: Shard = UNSHARDED) -> None:
    """Update the EMA of the parameters in place, after update t = 1, 2, ...

    a += (1 - d) (w - a),   d = min(decay, t / (t + 9))

    The decay is smaller in the first steps, so that the initial parameters are soon forgotten.

    Source: Polyak & Juditsky 1992; the warm-up is that of TensorFlow's ExponentialMovingAverage.
    """
    rate = 1 - min(decay, t / (t + 9))
    for _, (w, a) in aligned_chunks([params, ema], shard):
        a += rate * (w - a)
