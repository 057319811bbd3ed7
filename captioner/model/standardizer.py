"""Standardization of image features and regions."""

from __future__ import annotations

from typing import NamedTuple

from captioner.arrays import Array, Params


class Standardizer(NamedTuple):
    """Mean and standard deviation (F,) of the training features, or (R,) of their regions."""

    mean: Array
    std: Array

    def apply(self, x: Array) -> None:
        """Standardize rows in place: x = (x - mean) / std.

        Shapes: x (..., F).
        """
        x -= self.mean.astype(x.dtype)
        x /= self.std.astype(x.dtype)


def standardizer_arrays(features: Standardizer | None, regions: Standardizer | None) -> Params:
    """Name the arrays of both standardizers, for a checkpoint."""
    arrays = {} if features is None else features._asdict()
    return arrays if regions is None else arrays | {f"region_{name}": a for name, a in regions._asdict().items()}
