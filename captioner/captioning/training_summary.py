"""The training summary of a model file: what it knows of the training images, without containing any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Params, blocks, evenly_spaced, unit_rows
from captioner.data.corpus import Features, Split
from captioner.data.features import SelectedFeatures, standardization
from captioner.data.vocabulary import Vocab
from captioner.decode.word_regression import TrainingFit, WordRegression, right_singular_vectors

SharesOfRows = Callable[[Array], Array]
"""Shapes: rows (N,) of a split -> expected shares (N, V)."""

COMPONENTS = 64
MAX_BYTES = 1_000_000
"""Maximum size of the components, which limits their number for features of more than 3,906 numbers."""
MIN_WIDTH = 4 * COMPONENTS
"""Shorter features have too little energy outside the components to compare images."""
FEW = 100
"""Of fewer images, all are reference images, each compared with a summary of the others."""
MAX_IMAGES = 8192
"""Images that are used; a larger training split is sampled evenly."""
REFERENCES = 500
"""Maximum number of reference images; of fewer than ten times as many images, a tenth."""
OWN_COMPONENTS = 32
"""How many principal components the images of a model that starts from another add to those of its base."""
DECIMALS = 5
"""Decimals of residuals: enough to order images, and few enough to be independent of floating-point rounding."""


class Familiarity(NamedTuple):
    """An out-of-distribution score from the unit features u of an image.

    e = u - Σ_k (v_k·u) v_k,   r(x) = (Σ_j |e_j|³)^(1/3)
    familiarity(x) = 100 (share of reference images with r ≥ r(x))

    v_k are the first principal components of the u of the training images, and e is what they do not explain of u. The
    3-norm of e grows with its energy, which is large for photographs of other things, and with its concentration: a
    photograph deviates slightly from the mean in many features; a blank picture or a page of text deviates strongly in
    few. The reference images are training images that the scales of u and v_k were not computed from, and `residuals`
    are their r; of fewer than 100 training images, all, each with scales and v_k of the others.

    Shapes: components (K, F), residuals (n,) in ascending order.
    Source: Jackson and Mudholkar 1979, Control procedures for residuals associated with principal component analysis,
    with the 2-norm.
    """

    components: Array
    residuals: Array

    def percentile(self, units: Array) -> Array:
        """Compute the familiarity of images, from 0 (every reference image is more familiar) to 100.

        Shapes: unit features (N, F) -> (N,).
        """
        count = len(self.residuals)
        return 100 * (count - np.searchsorted(self.residuals, _residuals(units, self.components))) / count

    def extended(self, units: Array) -> Familiarity:
        """Add the first principal components of the e of further images, and these as reference images, at most half.

        Shapes: (N, F).
        """
        distinct = np.unique(units, axis=0)
        outside = distinct - (distinct @ self.components.T) @ self.components
        own = right_singular_vectors(outside, min(OWN_COMPONENTS, len(distinct)))
        components = np.concatenate([self.components, own])
        new = np.sort(_residuals(distinct, components))
        new = new[evenly_spaced(len(new), len(self.residuals))]
        return Familiarity(components, np.sort(np.concatenate([self.residuals, new])))


def fit_familiarity(features: Features) -> tuple[Array, Array, Params]:
    """Compute the scales of unit features, and the arrays of a `Familiarity`; none for one image or short features.

    Shapes: (M, F) -> mean (F,), std (F,), float32.
    """
    count, width = features.shape
    images = evenly_spaced(count, MAX_IMAGES)
    references = evenly_spaced(len(images), min(REFERENCES, len(images) // 10)) if count >= FEW else np.arange(0)
    fitted = SelectedFeatures(features, np.delete(images, references))
    mean, std = scales(fitted)
    if count < 2 or width < MIN_WIDTH:
        return mean, std, {}
    number = min(COMPONENTS, MAX_BYTES // (4 * width))
    components, residuals = _components(fitted, mean, std, number), []
    if count >= FEW:
        residuals = [_residuals(unit_rows(features[images[references]], mean, std), components)]
    for image in range(count if count < FEW else 0):
        others = SelectedFeatures(features, np.delete(images, image))
        own = scales(others)
        unit = unit_rows(features[image : image + 1], *own)
        residuals.append(_residuals(unit, _components(others, *own, number)))
    return mean, std, {"components": components, "residuals": np.sort(np.concatenate(residuals))}


def scales(features: Features) -> tuple[Array, Array]:
    """Compute the mean and standard deviation of features in float32. Shapes: (M, F) -> (F,), (F,)."""
    mean, std = standardization(features)
    return mean.astype(np.float32), std.astype(np.float32)


def _components(features: Features, mean: Array, std: Array, number: int) -> Array:
    """Compute the first principal components of unit features, which span M - 1. Shapes: (M, F) -> (below M, F)."""
    units = np.concatenate([unit_rows(rows, mean, std) for _, rows in blocks(features)])
    return right_singular_vectors(units, min(number, len(units) - 1))


def _residuals(units: Array, components: Array) -> Array:
    """Compute r of images. Shapes: (N, F), (K, F) -> (N,) float32."""
    outside = units - (units @ components.T) @ components
    return np.asarray(np.linalg.norm(outside, ord=3, axis=1)).round(DECIMALS)


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

    def in_vocabulary(self, vocab: Vocab, names: Array) -> TrainingSummary:
        """Return the summary in another vocabulary; `names` are new words that name things. Shapes: names (V,) bool."""
        regression = self.regression.in_vocabulary(vocab)
        return self._replace(regression=replace(regression, names=regression.names | names))

    def leave_one_out(self, train: Split) -> SharesOfRows:
        """Return the expected shares of the training images themselves, each without its own references."""
        return TrainingFit(train, self.regression.vocab, self.mean, self.std, fitted=self.regression).shares


def fit_summary(train: Split, vocab: Vocab, base: TrainingSummary | None = None) -> Params:
    """Fit the arrays of a `TrainingSummary` on a training split, from that of a base model in the same vocabulary.

    The scales of `familiarity` are those of the regression.
    """
    if base is None:
        mean, std, familiarity = fit_familiarity(train.features)
        return {"mean": mean, "std": std, **familiarity, **TrainingFit(train, vocab, mean, std).arrays()}
    images = evenly_spaced(train.features.shape[0], MAX_IMAGES)
    extended = base.familiarity and base.familiarity.extended(base.unit_rows(train.features[images]))
    fit = TrainingFit(train, vocab, base.mean, base.std, base.regression)
    return {"mean": base.mean, "std": base.std, **(extended._asdict() if extended else {}), **fit.arrays()}


def summary_from(arrays: Params, vocab: Vocab) -> TrainingSummary:
    """Make a summary of its arrays, in float32."""
    flags = "names", "rare"
    a = {name: array > 0 if name in flags else array.astype("float32") for name, array in arrays.items()}
    familiarity = Familiarity(a["components"], a["residuals"]) if "components" in a else None
    regression = WordRegression(
        vocab,
        **{name: a[name] for name in ("projection", "words", "bias", "counts", *flags)},
        images=int(a["images"][0]),
    )
    return TrainingSummary(a["mean"], a["std"], familiarity, regression)
