"""Standardization of image features."""

from __future__ import annotations

from typing import NamedTuple

from captioner.arrays import Array


class Standardizer(NamedTuple):
    """Mean and deviation (F,) of the features that a model was trained on."""

    mean: Array
    std: Array
