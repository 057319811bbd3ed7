"""Consensus re-ranking: score beam candidates by the reference captions of similar training images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, evenly_spaced, normalize_rows
from captioner.model.image_input import Standardizer

GAMMAS, RIDGES = (1.0, 2.0, 4.0), (0.1, 0.3, 1.0)
"""Kernel coefficients γ and regularizations λ that `choose_kernel` compares."""
MAX_COMPARED, EVALUATED, NEIGHBOURS = 4096, 256, 60
"""Maximum number of images in the regression that compares kernels, number of images that are left out of it, one at a
time, and candidate captions of each. The time grows with the cube of the first."""
DUPLICATE = 1 - 1e-4
"""Minimum cosine similarity of two copies of an image; float16 rounding of features stays above it."""

DIRECT = 256
"""Maximum number of rows of a matrix that is inverted without splitting."""


class Kernel(NamedTuple):
    """Kernel coefficient γ and regularization λ of kernel ridge regression."""

    gamma: float
    ridge: float


class Reranker:
    """Consensus re-ranking: predict the CIDEr-D of candidates by kernel ridge regression on images with references.

    E[CIDEr-D(c) | x] = Σ_j α_j CIDEr-D(c, references of x_j),   α = k(x) (K + λI)^-1,
    k(x)_j = exp(γ (cos(x, x_j) - 1)),   K_ij = k(x_i)_j

    with standardized features. An image x_i that is one of the n images is excluded from its own regression
    (leave-one-out): α_j = -G_ij / G_ii and α_i = 0, where G = (K + λI)^-1. If a set S of them are copies of the image,
    α is a row of -G_SS^-1 G_S, and 0 in S.

    `directions` are the unit features of the n images (`unit_features`), `kernel` is γ and λ (`choose_kernel`), and
    `inverse` is G (`inverse_kernel`).

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
        kernel: Kernel,
    ) -> None:
        from captioner.metrics import CiderD  # not needed to decode without a re-ranker

        self._cider, self._standardizer = CiderD(references), standardizer
        self._references = references
        self._directions, self._inverse, self._gamma = directions, inverse, kernel.gamma

    def weights(self, features: Array, rows: Array | None = None) -> Array:
        """Return the regression weights α of the n images for other images, or for some of the n images themselves.

        `rows` are the images' places among the n, or -1: exactly this place is left out. Without `rows`, copies are
        detected by their features.

        Shapes: (N, F), rows (N,) -> (N, n).
        """
        cosines = unit_features(features, self._standardizer) @ self._directions.T
        duplicates = cosines > DUPLICATE if rows is None else rows[:, None] == np.arange(len(self._directions))
        is_indexed, weights = duplicates.any(axis=1), np.empty_like(cosines)
        weights[~is_indexed] = _kernel(cosines[~is_indexed], self._gamma) @ self._inverse
        left_out: dict[bytes, Array] = {}
        for row in np.flatnonzero(is_indexed):
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
        words = self._words
        sums = [np.bincount(words.words, words.tfidf * row[words.images], vocabulary) for row in weights]
        return np.stack(sums).astype(np.float32)

    @cached_property
    def _words(self) -> Words:
        """The words of the references, which only guidance needs."""
        return Words.of(self._references)


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


def unit_features(features: Array, standardizer: Standardizer) -> Array:
    """Standardize features and scale each row to unit length.

    Shapes: (N, F) -> (N, F) float32.
    """
    mean, std = standardizer
    return normalize_rows((features.astype(np.float64) - mean) / std)


def choose_kernel(directions: Array, references: Sequence[Sequence[Sequence[int]]]) -> Kernel:
    """Choose γ and λ whose leave-one-out predictions rank captions best: those of similar images, for each image.

    The candidates of an image are the first references of its nearest neighbours. They are predicted from the other
    references alone, because the candidates of a model equal no reference; from other images alone, if a neighbour
    has a single reference. The best kernel has the highest correlation of predicted and actual CIDEr-D over the
    candidates of all images, both minus their mean over the candidates of the image. The squared error of predicted
    TF-IDF vectors would prefer kernels that are too narrow.

    Shapes: directions (n, F), references n lists of captions.
    """
    from captioner.metrics import CiderD

    rows = evenly_spaced(len(directions), MAX_COMPARED)
    directions, references = directions[rows], [references[row] for row in rows.tolist()]
    cider, images = CiderD(references), evenly_spaced(len(rows), EVALUATED)
    others = CiderD([captions[1:] or captions for captions in references], weights=cider)
    image = np.arange(len(images))
    cosines = directions @ directions[images].T
    neighbours = np.argsort(-cosines, axis=0, kind="stable").T
    neighbours = neighbours[neighbours != images[:, None]].reshape(len(images), -1)[:, :NEIGHBOURS]
    candidates = [[references[row][0] for row in near] for near in neighbours.tolist()]
    flat = list(chain.from_iterable(candidates))
    actual = _centred(cider.score(np.repeat(images, neighbours.shape[1]), flat).reshape(neighbours.shape))
    is_single = np.array([len(captions) == 1 for captions in references])
    matches = others.score(neighbours.ravel(), flat).reshape(neighbours.shape) * is_single[neighbours]
    units = np.zeros_like(cosines)
    units[images, image] = 1
    cosines = directions @ directions.T

    def correlation(kernel: Kernel) -> float:
        matrix = _regularized(cosines.copy(), kernel)
        weights = -np.linalg.solve(matrix, units).T  # rows of (K + λI)^-1, as in `Reranker`
        weights /= -weights[image, images][:, None]
        weights[image, images] = 0
        expected = np.stack([others.expected(*pair) for pair in zip(candidates, weights, strict=True)])
        expected = _centred(expected - np.take_along_axis(weights, neighbours, axis=1) * matches)
        return float(np.vdot(expected, actual) / (np.linalg.norm(expected) or 1))

    return max((Kernel(gamma, ridge) for gamma in GAMMAS for ridge in RIDGES), key=correlation)


def _centred(rows: Array) -> Array:
    """Subtract its mean from each row."""
    return np.asarray(rows - rows.sum(axis=1, keepdims=True) / max(1, rows.shape[1]))


def inverse_kernel(directions: Array, kernel: Kernel) -> Array:
    """Return (K + λI)^-1 for images with these unit features, exactly symmetric.

    L Lᵀ = K + λI,   (K + λI)^-1 = L^-T L^-1

    Shapes: (n, F) -> (n, n).
    """
    inverse = _inverse_lower(np.linalg.cholesky(_regularized(directions @ directions.T, kernel)))
    return np.asarray(inverse.T @ inverse)  # NumPy computes one triangle of xᵀ x and copies it


def _regularized(cosines: Array, kernel: Kernel) -> Array:
    """Compute K + λI of cosine similarities, in place."""
    matrix = _kernel(cosines, kernel.gamma)
    matrix[np.diag_indices_from(matrix)] += kernel.ridge
    return matrix


def _kernel(cosines: Array, gamma: float) -> Array:
    """Kernel of cosine similarities, in place."""
    cosines -= 1
    cosines *= gamma
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
