"""Exponential moving average (EMA) of the parameters."""

from __future__ import annotations

from captioner.arrays import Params
from captioner.optim.update_rules import WHOLE, Shard, aligned_chunks

EMA = "average"
"""The slot where a running mean of the parameters stands."""


def update_ema(params: Params, mean: Params, decay: float, t: int, shard: Shard = WHOLE) -> None:
    """Move the running mean of the parameters after update t, in place.

    a += (1 - d) (w - a),   d = min(decay, t / (t + 9))

    The mean of the first steps is short, so that it soon forgets the start.

    Source: Polyak & Juditsky 1992; the warm-up is that of TensorFlow's ExponentialMovingAverage.
    """
    rate = 1 - min(decay, t / (t + 9))
    for _, (w, a) in aligned_chunks([params, mean], shard):
        a += rate * (w - a)
