"""Consensus re-ranking: score beam candidates by the reference captions of similar training images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.model.image_input import Standardizer

GAMMA, RIDGE = 2.0, 0.3
"""Kernel coefficient γ and regularization λ, chosen on the validation images of Flickr8k for two image encoders."""
DUPLICATE = 1 - 1e-4
"""Minimum cosine similarity of two copies of an image; float16 rounding of features stays above it."""

DIRECT = 256
"""Maximum number of rows of a matrix that is inverted without splitting."""


class Reranker:
    """Consensus re-ranking: predict the CIDEr-D of candidates by kernel ridge regression on images with references.

    E[CIDEr-D(c) | x] = Σ_j α_j CIDEr-D(c, references of x_j),   α = k(x) (K + λI)^-1,
    k(x)_j = exp(γ (cos(x, x_j) - 1)),   K_ij = k(x_i)_j,   γ = `GAMMA`,   λ = `RIDGE`

    with standardized features. An image x_i that is one of the n images is excluded from its own regression
    (leave-one-out): α_j = -G_ij / G_ii and α_i = 0, where G = (K + λI)^-1. If a set S of them are copies of the image,
    α is a row of -G_SS^-1 G_S, and 0 in S.

    `directions` are the unit features of the n images (`unit_features`), `inverse` is G (`inverse_kernel`).

    Shapes: directions (n, F), inverse (n, n), references n lists of captions, standardizer (F,) each.
    Raises: DataError when an image has no reference.
    Source: Ciliberto et al. 2016, "A Consistent Regularization Approach for Structured Prediction" (regression of a
    loss); Mao et al. 2015, "Deep Captioning with Multimodal Recurrent Neural Networks", section 8 (consensus
    re-ranking by nearest neighbours).
    """

    def __init__(
        self,
        directions: Array,
        inverse: Array,
        references: Sequence[Sequence[Sequence[int]]],
        standardizer: Standardizer,
    ) -> None:
        from captioner.metrics import CiderD  # not needed to decode without a re-ranker

        self._cider, self._standardizer = CiderD(references), standardizer
        self._words = Words.of(references)
        self._directions, self._inverse = directions, inverse

    def weights(self, features: Array, rows: Array | None = None) -> Array:
        """Return the regression weights α of the n images for other images, or for some of the n images themselves.

        `rows` are the images' places among the n, or -1: exactly this place is left out. Without `rows`, copies are
        detected by their features.

        Shapes: (N, F), rows (N,) -> (N, n).
        """
        cosines = unit_features(features, self._standardizer) @ self._directions.T
        duplicates = cosines > DUPLICATE if rows is None else rows[:, None] == np.arange(len(self._directions))
        weights = _kernel(cosines) @ self._inverse
        left_out: dict[bytes, Array] = {}
        for row in np.flatnonzero(duplicates.any(axis=1)):
            copies = np.flatnonzero(duplicates[row])
            if copies.tobytes() not in left_out:
                left_out[copies.tobytes()] = self._leave_out(copies)
            weights[row] = left_out[copies.tobytes()]
        return weights

    def _leave_out(self, copies: Array) -> Array:
        """Weights for an image of which these rows are copies."""
        weights: Array = -np.linalg.solve(self._inverse[np.ix_(copies, copies)], self._inverse[copies])[0]
        weights[copies] = 0
        return weights

    def expected_cider(self, weights: Array, captions: Sequence[Sequence[Sequence[int]]]) -> list[Array]:
        """Predict the CIDEr-D of the candidate captions of each image from its regression weights.

        Shapes: weights (N, n), N lists of K captions -> N arrays (K,).
        """
        return [self._cider.expected(*candidates) for candidates in zip(captions, weights, strict=True)]

    def expected_tfidf(self, weights: Array, vocabulary: int) -> Array:
        """Predict the TF-IDF of each word of the vocabulary in a caption of each image from its regression weights.

        E[TF-IDF(w) | x] = Σ_j α_j TF-IDF(w, references of x_j)

        Shapes: weights (N, n), `vocabulary` V -> (N, V) float32.
        """
        return self._words.expected_tfidf(weights, vocabulary)


class Words(NamedTuple):
    """The distinct words of the references of each image, one entry per pair of image and word.

    TF-IDF(w, references of x_j) = (fraction of the references with w) log(images / images whose references contain w)

    Shapes: (E,) each.
    """

    images: Array
    words: Array
    tfidf: Array

    @classmethod
    def of(cls, references: Sequence[Sequence[Sequence[int]]]) -> Words:
        """Collect the words of references; negative ids are no words."""
        image = np.repeat(np.arange(len(references)), list(map(len, references)))
        captions = [sorted({word for word in words if word >= 0}) for words in chain.from_iterable(references)]
        words = np.fromiter(chain.from_iterable(captions), np.int64)
        pairs = np.stack([np.repeat(image, list(map(len, captions))), words])
        (images, words), captions_with = np.unique(pairs, axis=1, return_counts=True)
        fractions = captions_with / np.bincount(image)[images]
        return cls(images, words, fractions * np.log(len(references) / np.bincount(words)[words]))

    def expected_tfidf(self, weights: Array, vocabulary: int) -> Array:
        """Sum the TF-IDF of each word with a weight for each image. Shapes: (N, images) -> (N, vocabulary) float32."""
        sums = [np.bincount(self.words, self.tfidf * of_images[self.images], vocabulary) for of_images in weights]
        return np.stack(sums).astype(np.float32)


def unit_features(features: Array, standardizer: Standardizer) -> Array:
    """Standardize features and scale each row to unit length.

    Shapes: (N, F) -> (N, F) float32.
    """
    mean, std = standardizer
    return normalize_rows((features.astype(np.float64) - mean) / std)


def normalize_rows(vectors: Array) -> Array:
    """Scale every non-zero row to unit length.

    Shapes: (N, F) -> (N, F) float32.
    """
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norm > 0, norm, 1), np.float32)


def inverse_kernel(directions: Array) -> Array:
    """Return (K + λI)^-1 for images with these unit features, exactly symmetric.

    L Lᵀ = K + λI,   (K + λI)^-1 = L^-T L^-1

    Shapes: (n, F) -> (n, n).
    """
    kernel = _kernel(directions @ directions.T)
    kernel[np.diag_indices_from(kernel)] += RIDGE
    inverse = _inverse_lower(np.linalg.cholesky(kernel))
    return np.asarray(inverse.T @ inverse)  # NumPy computes one triangle of xᵀ x and copies it


def _kernel(cosines: Array) -> Array:
    """Kernel of cosine similarities, in place."""
    cosines -= 1
    cosines *= GAMMA
    return np.asarray(np.exp(cosines, out=cosines))


def _inverse_lower(lower: Array) -> Array:
    """Invert a lower triangular matrix recursively by 2 x 2 blocks, so that most of the work is GEMM.

    [A 0; B C]^-1 = [A^-1 0; -C^-1 B A^-1, C^-1]

    Shapes: (n, n) -> (n, n).
    """
    if len(lower) <= DIRECT:
        return np.asarray(np.linalg.inv(lower))
    half = len(lower) // 2
    out = np.zeros_like(lower)
    out[:half, :half] = _inverse_lower(lower[:half, :half])
    out[half:, half:] = _inverse_lower(lower[half:, half:])
    out[half:, :half] = -(out[half:, half:] @ lower[half:, :half]) @ out[:half, :half]
    return out


def rerank(
    tokens: Array, log_probs: Array, expected: Sequence[Array], null: int, weight: float, length_penalty: float
) -> tuple[Array, Array]:
    """Sort the captions of each image by log P / length^`length_penalty` + `weight` E[CIDEr-D], best first.

    Shapes: tokens (N, K, T), log_probs (N, K), expected N arrays (K,) -> sorted tokens and log_probs.
    """
    lengths = np.maximum((tokens != null).sum(axis=2), 1)
    order = np.argsort(-(log_probs / lengths**length_penalty + weight * np.stack(expected)), axis=1, kind="stable")
    image = np.arange(len(tokens))[:, None]
    return tokens[image, order], log_probs[image, order]
