"""ImageNet labels: the most probable classes of an image, from the features of the EfficientNet-Lite networks."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.errors import UsageError
from captioner.images.efficientnet import NETWORKS, read_weights, weights_file
from captioner.images.recipe import parse_identity


class Label(NamedTuple):
    """The name of an ImageNet class, and its probability for an image."""

    name: str
    probability: float


class Classifier(NamedTuple):
    """The output layer of the networks of an encoder: their mean logits, of the classes in `names`.

    Shapes: weight (1000, F), bias (1000,).
    """

    weight: Array
    bias: Array
    names: list[str]

    def labels(self, features: Array, number: int) -> list[list[Label]]:
        """Return at most `number` classes of each image, most probable first; none whose probability rounds to 0 %.

        Shapes: features (N, F) -> N lists.
        """
        logits = features.astype(np.float32) @ self.weight.T + self.bias
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        top = np.argsort(-probabilities, axis=1, kind="stable")[:, :number]
        return [
            [Label(self.names[index], float(row[index])) for index in order if row[index] > 0.005]
            for row, order in zip(probabilities, top.tolist(), strict=True)
        ]


def has_labels(identity: str) -> bool:
    """Return whether all networks of an encoder predict ImageNet classes."""
    parts = parse_identity(identity) or ()
    return bool(parts) and all(part.name in NETWORKS for part in parts)


@cache
def open_classifier(identity: str) -> Classifier:
    """Read the output layers of the networks of an encoder.

    Raises: UsageError for an encoder without classes, or missing weights; DataError for other weights.
    """
    if not has_labels(identity):
        known = " or ".join(NETWORKS)
        raise UsageError(f"labels: expected features of {known}, got {identity}, which predicts no ImageNet classes")
    parts = [part.name for part in parse_identity(identity) or ()]
    weights = {name: read_weights(name, weights_file(name)) for name in parts}
    return Classifier(
        np.concatenate([weights[name]["_fc.weight"] for name in parts], axis=1) / np.float32(len(parts)),
        np.mean([weights[name]["_fc.bias"] for name in parts], axis=0),
        read_names(),
    )


def read_names() -> list[str]:
    """Read the names of the classes in the order of the logits; lines that start with # are comments."""
    lines = files("captioner.images").joinpath("imagenet_classes.txt").read_text("utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]
