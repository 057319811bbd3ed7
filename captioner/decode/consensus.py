"""Consensus re-ranking: order the captions of a beam by the reference captions of similar images, too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captioner.arrays import Array
from captioner.metrics import CiderD
from captioner.model.standardizer import Standardizer

SHARPNESS, RIDGE = 3.0, 0.5
"""Of the kernel and of the regression: so the words of an image of Flickr8k are best told from those of the others."""
SAME = 1 - 1e-4
"""Images with a greater cosine are one, whether their features were kept as float16 or float32."""

HALVED = 256
"""Rows beyond which a matrix is inverted by halves."""


class Reranker:
    """The CIDEr-D that a caption may expect of an image, by kernel ridge regression on images with references.

    E[CIDEr-D(c) | x] = Σ_j α_j CIDEr-D(c, references of x_j),   α = k(x) (K + λI)^-1,
    k(x)_j = exp(γ (cos(x, x_j) - 1)),   K_ij = k(x_i)_j,   γ = `SHARPNESS`,   λ = `RIDGE`

    with standardised features. One that is among the n images is regressed on the others alone, so that it is not
    judged by its own references: α_j = -G_ij / G_ii and α_i = 0, where G = (K + λI)^-1. (Where a set S of them is the
    same image, α is a row of -G_SS^-1 G_S, and 0 in S.)

    `directions` are those of the n images' features (`directions_of`), `inverse` is G (`kernel_inverse`).

    Shapes: directions (n, F), inverse (n, n), references n lists of captions, standardizer (F,) each.
    Raises: DataError when an image has no reference.
    Source: Ciliberto et al. 2016, "A Consistent Regularization Approach for Structured Prediction" (such a regression
    of a loss); Mao et al. 2015, "Deep Captioning with Multimodal Recurrent Neural Networks", section 8 (captions ranked
    by their likeness to those of the nearest images).
    """

    def __init__(
        self,
        directions: Array,
        inverse: Array,
        references: Sequence[Sequence[Sequence[int]]],
        standardizer: Standardizer,
    ) -> None:
        self._cider, self._standardizer = CiderD(references), standardizer
        self._images, self._inverse = directions, inverse

    def shares(self, features: Array) -> Array:
        """How much the references of each of the n images tell of others: α.

        Shapes: (N, F) -> (N, n).
        """
        cosines = directions_of(features, self._standardizer) @ self._images.T
        same = cosines > SAME
        shares = _kernel(cosines) @ self._inverse
        without: dict[bytes, Array] = {}
        for row in np.flatnonzero(same.any(axis=1)):
            own = np.flatnonzero(same[row])
            if own.tobytes() not in without:
                without[own.tobytes()] = self._without(own)
            shares[row] = without[own.tobytes()]
        return shares

    def _without(self, own: Array) -> Array:
        """The shares for an image that is some of the n images, of the others."""
        shares: Array = -np.linalg.solve(self._inverse[np.ix_(own, own)], self._inverse[own])[0]
        shares[own] = 0
        return shares

    def expected(self, features: Array, captions: Sequence[Sequence[Sequence[int]]]) -> list[Array]:
        """The expected CIDEr-D of several captions of each image.

        Shapes: features (N, F), N lists of K_n captions -> N arrays (K_n,).
        """
        return [
            self._cider.expected(several, shares)
            for several, shares in zip(captions, self.shares(features), strict=True)
        ]


def directions_of(features: Array, standardizer: Standardizer) -> Array:
    """Standardised features as vectors of length 1; the mean of all stays 0.

    Shapes: (N, F) -> (N, F) float32.
    """
    mean, std = standardizer
    return unit((features.astype(np.float64) - mean) / std)


def unit(vectors: Array) -> Array:
    """Scale every row to length 1; a row of zeros stays as it is.

    Shapes: (N, F) -> (N, F) float32.
    """
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norm > 0, norm, 1), np.float32)


def kernel_inverse(directions: Array) -> Array:
    """(K + λI)^-1 of the images with these directions, exactly symmetric.

    The mean with its transpose is 40 times as near to the true inverse as what rounding leaves of it: errors that
    are not symmetric add up over all images.

    Shapes: (n, F) -> (n, n).
    """
    kernel = _kernel(directions @ directions.T)
    kernel[np.diag_indices_from(kernel)] += RIDGE
    found = _inverse(kernel)
    return np.asarray((found + found.T) / 2)


def _kernel(cosines: Array) -> Array:
    """The same array, with each cosine's kernel in its place."""
    cosines -= 1
    cosines *= SHARPNESS
    return np.asarray(np.exp(cosines, out=cosines))


def _inverse(matrix: Array) -> Array:
    """The inverse of a symmetric positive definite matrix, by halves: nearly all of it is products.

    [A B; Bᵀ C]^-1 = [A^-1 + X S^-1 Xᵀ, -X S^-1; -S^-1 Xᵀ, S^-1],   X = A^-1 B,   S = C - Bᵀ X

    Shapes: (n, n) -> (n, n).
    """
    if len(matrix) <= HALVED:
        return np.asarray(np.linalg.inv(matrix))
    half = len(matrix) // 2
    out = np.empty_like(matrix)
    corner = _inverse(matrix[:half, :half])
    X = corner @ matrix[:half, half:]
    out[half:, half:] = _inverse(matrix[half:, half:] - matrix[half:, :half] @ X)
    out[:half, half:] = -X @ out[half:, half:]
    out[half:, :half] = out[:half, half:].T
    out[:half, :half] = corner - out[:half, half:] @ X.T
    return out


def rank(
    tokens: Array, log_probs: Array, expected: Sequence[Array], null: int, weight: float, length_penalty: float
) -> tuple[Array, Array]:
    """The captions of every image in the order of log P / length^`length_penalty` + `weight` E[CIDEr-D], best first.

    Shapes: tokens (N, K, T), log_probs (N, K), expected N arrays (K,) -> the first two.
    """
    lengths = np.maximum((tokens != null).sum(axis=2), 1)
    order = np.argsort(-(log_probs / lengths**length_penalty + weight * np.stack(expected)), axis=1, kind="stable")
    image = np.arange(len(tokens))[:, None]
    return tokens[image, order], log_probs[image, order]
