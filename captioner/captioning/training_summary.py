"""The training summary of a model file: what it knows of the training images, without containing any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from captioner.arrays import Array, Params, unit_rows
from captioner.captioning.familiarity import Familiarity, fit_familiarity
from captioner.data.corpus import Split
from captioner.data.vocabulary import Vocab
from captioner.decode.word_regression import TrainingFit, WordRegression

SharesOfRows = Callable[[Array], Array]
"""Shapes: rows (N,) of a split -> expected shares (N, V)."""


class TrainingSummary(NamedTuple):
    """Scales of the features of training images, their familiarity, and the regression of their words.

    u(x) = z / |z|,   z = (x - mean) / std

    `familiarity` is None for a single training image, and for features of fewer than 256 numbers.

    Shapes: mean and std (F,) float32.
    """

    mean: Array
    std: Array
    familiarity: Familiarity | None
    regression: WordRegression

    def unit_rows(self, features: Array) -> Array:
        """Compute u of images. Shapes: (N, F) -> (N, F) float32."""
        return unit_rows(features, self.mean, self.std)

    def shares(self, features: Array) -> Array:
        """Compute the expected shares of words in the references of images. Shapes: (N, F) -> (N, V)."""
        return self.regression.shares(self.unit_rows(features))

    def leave_one_out(self, train: Split) -> SharesOfRows:
        """Return the expected shares of the training images themselves, each without its own references."""
        return TrainingFit(train, self.regression.vocab, self.mean, self.std, self.regression.ridge).shares


def fit_summary(train: Split, vocab: Vocab) -> Params:
    """Fit the arrays of a `TrainingSummary` on a training split.

    The scales of `familiarity` are those of the regression.
    """
    mean, std, familiarity = fit_familiarity(train.features)
    return {"mean": mean, "std": std, **familiarity, **TrainingFit(train, vocab, mean, std).arrays()}


def summary_from(arrays: Params, vocab: Vocab) -> TrainingSummary:
    """Make a summary of its arrays, in float32."""
    a = {name: array if name == "names" else array.astype("float32") for name, array in arrays.items()}
    familiarity = Familiarity(a["components"], a["residuals"]) if "components" in a else None
    regression = WordRegression(
        vocab,
        **{name: a[name] for name in ("projection", "words", "bias", "counts")},
        names=a["names"] > 0,
        images=int(a["images"][0]),
        ridge=float(a["ridge"][0]),
    )
    return TrainingSummary(a["mean"], a["std"], familiarity, regression)
