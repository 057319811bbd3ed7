"""Expected similarity: how well a caption fits the words that the features of its image predict."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Params, evenly_spaced, normalize_rows
from captioner.captioning.familiarity import Familiarity, principal_components
from captioner.data.corpus import Split
from captioner.data.vocabulary import SPECIAL, Vocab

RANK, RIDGE = 128, 2.0
"""R and λ, chosen on validation images, with the captions of models/everyday.h5."""
MAX_IMAGES = 12288
"""Images that are used; a larger training split is sampled evenly."""
MAX_WIDTH = 8192
"""Wider features have no regression: the time of the fit grows with the cube of their width."""
BLOCK = 128
DECIMALS = 4


class WordRegression(NamedTuple):
    """Reduced-rank ridge regression from the features of an image to the words of its references.

    t(c)_w = (number of w in c) log(n / images whose references contain w)
    y_i = mean over references c of x_i (t(c) / |t(c)|)
    W = argmin Σ_i |W u_i + b - y_i|² + λ |W|²,   b = 1/n Σ_i y_i
    similarity(c, x) = (t(c) / |t(c)|) · (B A u(x) + b),   clipped to 0 and 1,   B A ≈ W

    The similarity is the expected cosine of the TF-IDF vectors of the caption and a reference: CIDEr with unigrams
    only. u are the unit features of `Familiarity`. B A minimizes the same expression as W, with rank R, approximately:
    B has the first right singular vectors of L^-1 Σ_i u_i (y_i - b)^T, with L L^T = Σ_i u_i u_i^T + λI.

    Shapes: projection A (R, F), words B (V, R), bias b (V,), idf (V,), all float16.
    Source: Izenman 1975, Reduced-rank regression for the multivariate linear model; Vedantam et al. 2015, CIDEr.
    """

    projection: Array
    words: Array
    bias: Array
    idf: Array

    def similarity(self, units: Array, tokens: Array) -> Array:
        """Predict the similarity of the caption of each image to its references.

        Shapes: units (N, F), tokens (N, T) -> (N,).
        """
        projection, words, bias, idf = (array.astype(np.float32) for array in self)
        expected = units @ projection.T @ words.T + bias
        similarity = np.sum(_unit_tfidf(tokens, idf) * expected, axis=1, dtype=np.float64)
        return np.clip(similarity, 0, 1).round(DECIMALS)


def fit_word_regression(train: Split, vocab: Vocab, familiarity: Familiarity) -> Params:
    """Fit the arrays of a `WordRegression` on the captioned images of a split; none for wide features."""
    width = train.features.shape[1]
    if width > MAX_WIDTH:
        return {}
    images = train.captioned_images
    images = images[evenly_spaced(len(images), MAX_IMAGES)]
    captions = [train.captions[train.caption_rows(image)] for image in images.tolist()]
    having = np.zeros(len(vocab), np.int64)
    for tokens in captions:
        having[np.unique(tokens)] += 1
    idf = np.log(len(images) / np.maximum(having, 1)).astype(np.float32)
    idf[(having == 0) | np.isin(vocab.words, SPECIAL)] = 0
    gram, products = RIDGE * np.eye(width, dtype=np.float32), np.zeros((width, len(vocab)), np.float32)
    bias, total = np.zeros(len(vocab), np.float32), np.zeros(width, np.float32)
    for first in range(0, len(images), BLOCK):  # the targets of all images would take n V numbers
        units = familiarity.unit_rows(train.features[images[first : first + BLOCK]])
        targets = [_unit_tfidf(tokens, idf).mean(axis=0) for tokens in captions[first : first + BLOCK]]
        gram += units.T @ units
        products += units.T @ targets
        bias += np.sum(targets, axis=0) / len(images)
        total += units.sum(axis=0)
    products -= np.outer(total, bias)
    whitened = np.linalg.solve(np.linalg.cholesky(gram), products)
    words = principal_components(whitened, min(RANK, *products.shape))
    projection = np.linalg.solve(gram, products @ words.T).T
    arrays = WordRegression(projection, words.T, bias, idf)._asdict()
    return {name: np.ascontiguousarray(array, np.float16) for name, array in arrays.items()}


def _unit_tfidf(tokens: Array, idf: Array) -> Array:
    """Return the TF-IDF vectors of captions, of unit length. Shapes: tokens (N, T), idf (V,) -> (N, V)."""
    rows = np.zeros((len(tokens), len(idf)), np.float32)
    np.add.at(rows, (np.arange(len(tokens))[:, None], tokens), idf[tokens])
    return normalize_rows(rows)
