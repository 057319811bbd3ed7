"""What people said of similar images, as a judge of captions: by it those of a beam are ranked anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captioner.arrays import Array
from captioner.metrics import CiderD

SHARPNESS, RIDGE = 3.0, 0.5
"""Of the kernel and of the regression: so the words of an image of Flickr8k are best told from those of the others."""
SAME = 1 - 1e-6
"""Images with a greater cosine are one."""


class Consensus:
    """The CIDEr-D that a caption may expect of an image, by kernel ridge regression on images with references.

    E[CIDEr-D(c) | x] = Σ_j α_j CIDEr-D(c, references of x_j),   α = k(x) (K + λI)^-1,
    k(x)_j = exp(γ (cos(x, x_j) - 1)),   K_ij = k(x_i)_j,   γ = `SHARPNESS`,   λ = `RIDGE`

    with features standardised by those of the n images. One that is among them is regressed on the others alone, so
    that what was said of itself tells nothing: α_j = -G_ij / G_ii and α_i = 0, where G = (K + λI)^-1. (Where a set S of
    them is the same image, α is its row of -G_SS^-1 G_S, and 0 in S.)

    Shapes: features (n, F), references n lists of captions.
    Raises: DataError when an image has no reference.
    Source: Ciliberto et al. 2016, "A Consistent Regularization Approach for Structured Prediction" (such a regression
    of a loss); Mao et al. 2015, "Deep Captioning with Multimodal Recurrent Neural Networks", section 8 (captions ranked
    by their likeness to those of the nearest images).
    """

    def __init__(self, features: Array, references: Sequence[Sequence[Sequence[int]]]) -> None:
        self._cider = CiderD(references)
        features = features.astype(np.float64)
        deviation = features.std(axis=0)
        self._mean, self._deviation = features.mean(axis=0), np.where(deviation > 0, deviation, 1)
        self._images = self._directions(features)
        kernel = _kernel(self._images @ self._images.T)
        kernel[np.diag_indices_from(kernel)] += RIDGE
        self._inverse = np.linalg.inv(kernel)

    def shares(self, features: Array) -> Array:
        """How much the references of each of the n images tell of others: α.

        Shapes: (N, F) -> (N, n).
        """
        cosines = self._directions(features) @ self._images.T
        same = cosines > SAME
        shares = _kernel(cosines) @ self._inverse
        for row in np.flatnonzero(same.any(axis=1)):
            own = np.flatnonzero(same[row])
            shares[row] = -np.linalg.solve(self._inverse[np.ix_(own, own)], self._inverse[own])[0]
            shares[row, own] = 0
        return shares

    def expected(self, features: Array, captions: Sequence[Sequence[Sequence[int]]]) -> list[Array]:
        """The expected CIDEr-D of several captions of each image.

        Shapes: features (N, F), N lists of K_n captions -> N arrays (K_n,).
        """
        return [
            self._cider.expected(several, shares)
            for several, shares in zip(captions, self.shares(features), strict=True)
        ]

    def _directions(self, features: Array) -> Array:
        """Standardised features as vectors of length 1; the mean of all stays 0."""
        features = (features - self._mean) / self._deviation
        norm = np.linalg.norm(features, axis=1, keepdims=True)
        return np.asarray(features / np.where(norm > 0, norm, 1), np.float32)


def _kernel(cosines: Array) -> Array:
    return np.asarray(np.exp(SHARPNESS * (cosines - 1)))


def rank(
    tokens: Array, log_probs: Array, expected: Sequence[Array], null: int, weight: float, length_power: float
) -> tuple[Array, Array]:
    """The captions of every image in the order of log P / length^`length_power` + `weight` E[CIDEr-D], best first.

    Shapes: tokens (N, K, T), log_probs (N, K), expected N arrays (K,) -> the first two.
    """
    lengths = np.maximum((tokens != null).sum(axis=2), 1)
    order = np.argsort(-(log_probs / lengths**length_power + weight * np.stack(expected)), axis=1, kind="stable")
    image = np.arange(len(tokens))[:, None]
    return tokens[image, order], log_probs[image, order]
