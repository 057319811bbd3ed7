"""Standardization of image features."""

from __future__ import annotations

from typing import NamedTuple

from captioner.arrays import Array


class Standardizer(NamedTuple):
    """Mean and standard deviation (F,) of the training features."""

    mean: Array
    std: Array
