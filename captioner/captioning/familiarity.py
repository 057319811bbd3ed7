"""Familiarity: how similar an image is to the training images, an out-of-distribution score from its features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Params, blocks, evenly_spaced
from captioner.data.corpus import Features
from captioner.data.features import SelectedFeatures, standardization
from captioner.decode.consensus import unit_features
from captioner.model.image_input import Standardizer

COMPONENTS = 64
MAX_BYTES = 1_000_000
"""Maximum size of the components, which limits their number for features of more than 3,906 numbers."""
MIN_WIDTH = 4 * COMPONENTS
"""Shorter features have too little energy outside the components to compare images."""
MIN_IMAGES = 100
MAX_IMAGES = 8192
"""Images that are used; a larger training split is sampled evenly."""
REFERENCES = 500
"""Maximum number of reference images; of fewer than ten times as many images, a tenth."""
OVERSAMPLING, POWER_ITERATIONS = 16, 2
DECIMALS = 5
"""Decimals of residuals: enough to order images, and few enough to be independent of floating-point rounding."""


class Familiarity(NamedTuple):
    """A summary of training images, which contains none of them: scales, principal components, and residuals.

    z = (x - m) / s,   u = z / |z|,   e = u - Σ_k (v_k·u) v_k,   r(x) = (Σ_j |e_j|³)^(1/3)
    familiarity(x) = 100 (share of reference images with r ≥ r(x))

    m and s are the means and standard deviations of the features, v_k are the first principal components of the u of
    the training images, and e is what they do not explain of u. The 3-norm of e grows with its energy, which is large
    for photographs of other things, and with its concentration: a photograph deviates slightly from the mean in many
    features; a blank picture or a page of text deviates strongly in few. The reference images are training images that
    m, s and v_k were not computed from, and `residuals` are their r.

    Shapes: mean (F,), std (F,), components (K, F), residuals (n,) in ascending order.
    Source: Jackson and Mudholkar 1979, Control procedures for residuals associated with principal component analysis,
    with the 2-norm.
    """

    mean: Array
    std: Array
    components: Array
    residuals: Array

    def percentile(self, features: Array) -> Array:
        """Compute the familiarity of images, from 0 (every reference image is more familiar) to 100.

        Shapes: (N, F) -> (N,).
        """
        residuals = _residuals(self.unit_rows(features), self.components)
        count = len(self.residuals)
        return 100 * (count - np.searchsorted(self.residuals, residuals)) / count

    def unit_rows(self, features: Array) -> Array:
        """Compute u of images. Shapes: (N, F) -> (N, F) float32."""
        return unit_features(features, Standardizer(self.mean, self.std))


def fit_familiarity(features: Features) -> Params:
    """Summarize training images as the arrays of a `Familiarity`; none if there are too few, or too short features.

    Shapes: (M, F).
    """
    count, width = features.shape
    if count < MIN_IMAGES or width < MIN_WIDTH:
        return {}
    images = evenly_spaced(count, MAX_IMAGES)
    references = evenly_spaced(len(images), min(REFERENCES, len(images) // 10))
    fitted = SelectedFeatures(features, np.delete(images, references))
    mean, std = (array.astype(np.float32) for array in standardization(fitted))
    scales = Standardizer(mean, std)
    units = np.concatenate([unit_features(rows, scales) for _, rows in blocks(fitted)])
    components = principal_components(units, min(COMPONENTS, MAX_BYTES // (4 * width)))
    residuals = np.sort(_residuals(unit_features(features[images[references]], scales), components))
    return Familiarity(mean, std, components, residuals)._asdict()


def _residuals(units: Array, components: Array) -> Array:
    """Compute r of images. Shapes: (N, F), (K, F) -> (N,) float32."""
    outside = units - (units @ components.T) @ components
    return np.asarray(np.linalg.norm(outside, ord=3, axis=1)).round(DECIMALS)


def principal_components(rows: Array, number: int) -> Array:
    """Compute the first right singular vectors, of centred rows the principal components, by subspace iteration.

    Shapes: rows (M, F), number K -> (K, F).
    Source: Halko, Martinsson and Tropp 2011, Finding structure with randomness, algorithms 4.4 and 5.1.
    """
    basis = np.random.default_rng(0).standard_normal((rows.shape[1], number + OVERSAMPLING), dtype=np.float32)
    for _ in range(POWER_ITERATIONS + 1):
        basis, _ = np.linalg.qr(rows.T @ (rows @ basis))
    projected = rows @ basis
    _, rotation = np.linalg.eigh(projected.T @ projected)
    return np.ascontiguousarray((basis @ rotation[:, ::-1]).T[:number])
