"""Familiarity: how similar an image is to the training images, an out-of-distribution score from its features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Params, blocks, evenly_spaced, normalize_rows
from captioner.data.corpus import Features
from captioner.data.features import SelectedFeatures, standardization

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
"""Decimals of energies: enough to order images, and few enough to be independent of floating-point rounding."""


class Familiarity(NamedTuple):
    """A summary of training images, which contains none of them: principal components, and energies outside of them.

    u = (x - m) / |x - m|,   r(x) = 1 - Σ_k (v_k·u)²,   familiarity(x) = 100 (share of reference images with r ≥ r(x))

    m is the mean of the features, v_k are the first principal components of the u of the training images, and r(x) is
    the share of the energy of u outside of them. The reference images are training images that m and v_k were not
    computed from, and `energies` are their r.

    Shapes: mean (F,), components (K, F), energies (n,) in ascending order.
    Source: Jackson and Mudholkar 1979, Control procedures for residuals associated with principal component analysis.
    """

    mean: Array
    components: Array
    energies: Array

    def percentile(self, features: Array) -> Array:
        """Compute the familiarity of images, from 0 (every reference image is more familiar) to 100.

        Shapes: (N, F) -> (N,).
        """
        outside = _energy_outside(features, self.mean, self.components)
        count = len(self.energies)
        return 100 * (count - np.searchsorted(self.energies, outside)) / count


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
    mean = standardization(fitted)[0].astype(np.float32)
    units = np.concatenate([_unit_rows(rows, mean) for _, rows in blocks(fitted)])
    components = _principal_components(units, min(COMPONENTS, MAX_BYTES // (4 * width)))
    energies = np.sort(_energy_outside(features[images[references]], mean, components))
    return Familiarity(mean, components, energies)._asdict()


def _unit_rows(features: Array, mean: Array) -> Array:
    return normalize_rows(features.astype(np.float64) - mean)


def _energy_outside(features: Array, mean: Array, components: Array) -> Array:
    """Compute r of images. Shapes: (N, F), (F,), (K, F) -> (N,) float32."""
    inside = np.square(_unit_rows(features, mean) @ components.T).sum(axis=1)
    return np.asarray(1 - inside).round(DECIMALS)


def _principal_components(rows: Array, number: int) -> Array:
    """Compute the first principal components of centred rows by randomized subspace iteration.

    Shapes: rows (M, F), number K -> (K, F).
    Source: Halko, Martinsson and Tropp 2011, Finding structure with randomness, algorithms 4.4 and 5.1.
    """
    basis = np.random.default_rng(0).standard_normal((rows.shape[1], number + OVERSAMPLING), dtype=np.float32)
    for _ in range(POWER_ITERATIONS + 1):
        basis, _ = np.linalg.qr(rows.T @ (rows @ basis))
    projected = rows @ basis
    _, rotation = np.linalg.eigh(projected.T @ projected)
    return np.ascontiguousarray((basis @ rotation[:, ::-1]).T[:number])
