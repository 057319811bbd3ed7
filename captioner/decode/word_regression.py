"""Regression of words: the words in the references of an image, predicted from its features."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Params, evenly_spaced, unit_rows
from captioner.data.corpus import Split
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.decode.agreement import disagrees, rare_words
from captioner.decode.beam import length_norm

MIN_IMAGES = 3
"""Words of fewer training images have no expected share."""
RIDGE = 2.0
"""The regularization λ. From 0.125 to 8, CIDEr-D of re-ranked captions changes by less than a point."""
BASE_INTERCEPT, BASE_IMAGES = 30.0, 1000
"""If a regression starts from a base model's: μ, and how many own images count as much as all images of the base."""
MAX_BYTES = 7_500_000
"""Maximum size of the factors of W in a file, which limits their rank. With a base, each own image adds one."""
MAX_DIMENSIONS = 8192
"""Of wider features, an even sample of as many images is used: the time grows with the cube of the smaller number."""
OVERSAMPLING, POWER_ITERATIONS = 16, 2
BLOCK = 128
"""Images whose targets are computed at a time: those of all images would take n V numbers."""
RARE = 1.8
"""The IDF above which words that name things are not repeated: less than a sixth of the images."""
DECIMALS = 4
STORED, SHARE_DECIMALS = 128, 3
"""How many of the largest expected shares are kept for search, and their decimals."""
FORMS = {
    "bike": "bicycle", "motorbike": "motorcycle", "plane": "airplane", "couch": "sofa", "tv": "television",
    "kid": "child", "guy": "man", "lady": "woman", "automobile": "car", "cab": "taxi",
    "men": "man", "women": "woman", "children": "child", "people": "person", "knives": "knife", "leaves": "leaf",
    "loaves": "loaf", "shelves": "shelf", "wolves": "wolf", "geese": "goose", "mice": "mouse", "feet": "foot",
    "fridge": "refrigerator", "racquet": "racket", "clothes": "clothes", "glasses": "glasses",
}  # fmt: skip
"""Words for one thing: its name, for synonyms and irregular plurals. Plurals without a singular name themselves."""
ENDINGS = {"s": "", "es": "", "ies": "y"}
"""Endings of plurals, and those of their singulars."""
PASSES = 2
THING_SHARE = 0.85
"""How often a thing follows where a word does, relative to the mean, if the word names things."""
FREQUENT = 0.05
"""A word is frequent if it occurs at least this often, relative to the number of captions."""


class Keyword(NamedTuple):
    """A word that names something in an image, and its expected share."""

    word: str
    share: float


@dataclass(frozen=True, eq=False)
class WordRegression:
    """Expected shares of words in the references of an image, by ridge regression on its unit features u.

    p(x) = W u(x) + b,   W ≈ words projection,   W, b = argmin Σ_i |W u_i + b - y_i|² + λ |W|²
    idf_w = log(n / n_w),   s(c, x) = t·e / (|t| |e|),   t_w = (number of w in c) idf_w,   e_w = idf_w p_w(x)

    y_i are the shares of the references of training image i that contain each word. n is the number of training images,
    and n_w (`counts`) of those whose references contain w. Of words in fewer than 3 training images, p and the IDF are
    0. p is not clipped. s is the *expected similarity* of a caption and the references: the cosine of its TF-IDF vector
    and the expected one. `names` are the words that name things, and `rare` those of `agreement.rare_words`.

    Shapes: projection (R, F), words (V, R), bias and counts (V,), all float32; names (V,) and rare (V, C) bool.
    Source: Hoerl and Kennard 1970, Ridge Regression; Izenman 1975, Reduced-rank regression for the multivariate linear
    model; Vedantam et al. 2015, CIDEr.
    """

    vocab: Vocab
    projection: Array
    words: Array
    bias: Array
    counts: Array
    names: Array
    rare: Array
    images: int

    def in_vocabulary(self, vocab: Vocab) -> WordRegression:
        """Return the regression in another vocabulary; new words have shares and counts of 0."""
        ids = self.vocab.word_to_idx
        rows = np.array([ids.get(word, len(self.vocab)) for word in vocab.words])
        parts = {name: getattr(self, name) for name in ("words", "bias", "counts", "names", "rare")}
        mapped = {name: np.append(part, np.zeros_like(part[:1]), axis=0)[rows] for name, part in parts.items()}
        return replace(self, vocab=vocab, **mapped)

    @cached_property
    def idf(self) -> Array:
        """log(n / n_w), or 0 for words of fewer than `MIN_IMAGES` images. Shapes: -> (V,) float32."""
        idf = np.log(self.images / np.maximum(self.counts, 1))
        return np.where(self.counts >= MIN_IMAGES, idf, 0).astype(np.float32)

    def shares(self, units: Array) -> Array:
        """Compute p of images from their unit features. Shapes: (N, F) -> (N, V) float32."""
        return np.asarray(units @ self.projection.T @ self.words.T + self.bias)

    def guidance(self, shares: Array, weight: float) -> Array:
        """Compute the bonus of each word in guided beam search, weight e_w. Shapes: shares (N, V) -> (N, V)."""
        return np.asarray(np.float32(weight) * self.idf * shares)

    def similarity(self, tokens: Array, shares: Array) -> Array:
        """Compute s of candidate captions, 0 if |t| or |e| is. Shapes: tokens (N, K, T), shares (N, V) -> (N, K)."""
        weights = self.idf[tokens] ** 2
        image = np.arange(len(tokens))[:, None, None]
        products = (weights * shares[image, tokens]).sum(axis=2, dtype=np.float64)
        repeats = (tokens[..., None] == tokens[..., None, :]).sum(axis=3)
        norms = np.sqrt((weights * repeats).sum(axis=2, dtype=np.float64))
        norms *= np.linalg.norm(shares.astype(np.float64) * self.idf, axis=1)[:, None]
        return np.asarray(products / np.where(norms > 0, norms, 1))

    @cached_property
    def things(self) -> Array:
        """The id of what each word names: equal for singular, plural and synonyms. Shapes: -> (V,)."""
        ids = {word: id for word, id in self.vocab.word_to_idx.items() if self.names[id]}
        things = np.arange(len(self.vocab))
        for word, id in ids.items():
            regular = (word.removesuffix(end) + singular for end, singular in ENDINGS.items() if word.endswith(end))
            forms = (FORMS.get(word, ""), *regular)
            singular = next((form for form in forms if form in ids), word)
            things[id] = ids.get(FORMS.get(singular, singular), ids[singular])
        return things

    def _shares_of_things(self, shares: Array) -> Array:
        """Return the sum of the shares of the forms of each thing, at most 1, at its id. Shapes: (N, V) -> (N, V)."""
        sums = np.zeros_like(shares.T)
        np.add.at(sums, self.things, np.where(self.names, np.maximum(shares, 0), 0).T)
        return np.minimum(sums.T, 1)

    def names_twice(self, tokens: Array) -> Array:
        """Return whether captions name one thing twice. Shapes: tokens (..., T) -> (...)."""
        things = np.where(self.names & (self.idf > RARE), self.things, -1)[tokens]
        things.sort(axis=-1)
        return np.asarray(((things[..., 1:] == things[..., :-1]) & (things[..., 1:] >= 0)).any(axis=-1))

    def keywords(self, shares: Array, least: float) -> list[list[Keyword]]:
        """Return the things whose expected share is at least `least` for each image, in the singular, by idf_w p_w.

        The share of a thing is the sum of those of its forms, at most 1.

        Shapes: shares (N, V) -> N lists.
        """
        sums = self._shares_of_things(shares)
        things = np.unique(self.things[self.names])
        keywords = list[list[Keyword]]()
        for row in sums:
            expected = things[row[things] >= least]
            order = expected[np.argsort(-row[expected] * self.idf[expected], kind="stable")]
            keywords.append([Keyword(self.vocab.words[thing], round(float(row[thing]), DECIMALS)) for thing in order])
        return keywords

    def largest(self, shares: Array) -> list[list[Keyword]]:
        """Return the `STORED` words with the largest expected shares, largest first, for each image.

        Shapes: shares (N, V) -> N lists.
        """
        values = shares.astype(float).round(SHARE_DECIMALS)  # floating-point rounding does not order equal shares
        words = np.argsort(-values, axis=1, kind="stable")[:, :STORED]
        values = np.take_along_axis(values, words, axis=1)
        return [
            [Keyword(self.vocab.words[word], share) for word, share in zip(*row, strict=True) if share > 0]
            for row in zip(words.tolist(), values.tolist(), strict=True)
        ]

    def rerank(
        self, tokens: Array, log_probs: Array, shares: Array, weight: float, length_penalty: float
    ) -> tuple[Array, Array]:
        """Sort the captions of each image by log P / length^`length_penalty` + `weight` s, best first.

        Captions that name one thing twice, or whose words do not agree in number, come after the others, and missing
        ones last.

        Shapes: tokens (N, K, T), log_probs (N, K), shares (N, V) -> sorted tokens and log_probs.
        """
        lengths = np.maximum((tokens != self.vocab.null).sum(axis=2), 1)
        scores = log_probs / length_norm(lengths, length_penalty) + weight * self.similarity(tokens, shares)
        is_flawed = self.names_twice(tokens) | disagrees(tokens, self.rare, self.vocab)
        last = np.where(np.isfinite(log_probs), is_flawed, 2)
        order = np.lexsort((-scores, last), axis=1)
        image = np.arange(len(tokens))[:, None]
        return tokens[image, order], log_probs[image, order]


class TrainingFit:
    """Ridge regression on the images of a training split, with predictions for these images that leave them out.

    p(x) = ȳ + ũᵀ(ŨᵀŨ + λI)⁻¹ Ũᵀ(Y - ȳ),   h = 1/n + ũᵀ(ŨᵀŨ + λI)⁻¹ũ,   ũ = u - mean of u,   ȳ = mean of y
    p₋ = (p - h Σ_S y) / (1 - |S| h),   S: the images with the features of x

    From a base model with W₀, b₀, n₀ images and n₀_w of them with w, with μ = 30:

    W, b = argmin Σ_i |W u_i + b - y_i|² + λ |W - W₀|² + μ |b - b₀|²
    n = n₀ + k (number of images),   n_w = n₀_w + k (number of images with w),   k = max(3, n₀ / 1000)

    μ |b - b₀|² is the error of μ more images with u = 0 and y = b₀, which are never left out: a name in few captions is
    expected of images like its own, not of all. For words that the base lacks, n_w = n (number of images with w) /
    (number of images + λ): a name in every caption does not distinguish captions.

    p₋ is the prediction of the regression without S, for the same scales of features and words: with equal features,
    p₋S = y_S - (I - H_SS)⁻¹(y_S - p_S) has equal rows. If no other image remains, p₋ is 0.

    If there are fewer images than features, and no base, all is computed in an orthonormal basis of the ũ, which gives
    the same.
    `mean` and `std` are the scales of the features, and λ = 2. `base` is in the same vocabulary, and `fitted` is a
    regression that has been fitted to these images.

    Raises: DataError, as `Split.features`.
    Source: Hastie, Tibshirani and Friedman 2009, The Elements of Statistical Learning, section 7.10.
    """

    def __init__(
        self,
        train: Split,
        vocab: Vocab,
        mean: Array,
        std: Array,
        base: WordRegression | None = None,
        fitted: WordRegression | None = None,
    ) -> None:
        self._train, self._vocab, self._scales = train, vocab, (mean, std)
        self._base, self._fitted = base, fitted
        width, images = train.features.shape[1], train.captioned_images
        if width > MAX_DIMENSIONS:
            images = images[evenly_spaced(len(images), MAX_DIMENSIONS)]
        self.images, self._copies = images, dict[bytes, list[int]]()
        self._excluded = np.array([word in SPECIAL for word in vocab.words])
        total, counts = np.zeros(width), np.zeros(len(vocab))
        for rows in _blocks(images):
            for row, features in zip(rows.tolist(), train.features[rows], strict=True):
                self._copies.setdefault(_digest(features), []).append(row)
            total += self._units(rows).sum(axis=0)
            counts += (self._targets(rows) > 0).sum(axis=0)
        self.counts, self.count = counts.astype(np.float32), len(images)
        if self._base:
            weight = max(MIN_IMAGES, self._base.images / BASE_IMAGES)
            self.count = round(self._base.images + weight * len(images))
            share, known = self.counts / (len(images) + RIDGE), self._base.counts > 0
            counts = np.where(known, self._base.counts + weight * self.counts, share * self.count)
            self.counts = np.minimum(counts, self.count).astype(np.float32)
        self._excluded = (fitted.counts if fitted else self.counts) < MIN_IMAGES
        is_started = base is not None or (fitted is not None and fitted.images > len(images))
        self._of_base = BASE_INTERCEPT if is_started else 0.0
        self._mean, self._basis = (total / (len(images) + self._of_base)).astype(np.float32), None
        if len(images) < width and self._base is None:
            self._basis = np.linalg.qr((self._units(images) - self._mean).T)[0]
        self._regularized, self._products, self.bias = self._sums()
        self._regularized += np.float32(RIDGE) * np.eye(len(self._regularized), dtype=np.float32)
        if self._base:
            self._products += np.float32(RIDGE) * (self._base.words @ self._base.projection).T
        self._inverse = np.linalg.inv(self._regularized)
        self._weights = self._inverse @ self._products

    def shares(self, rows: Array) -> Array:
        """Compute the expected shares of images of the split, without their own references.

        Shapes: rows (N,) of the split -> (N, V) float32.
        """
        centred = self._centred(rows)
        left_out = [self._copies.get(_digest(features), []) for features in self._train.features[rows]]
        leverage = 1 / (len(self.images) + self._of_base) + ((centred @ self._inverse) * centred).sum(axis=1)
        if self._fitted and self._of_base:  # W₀ is unknown, and the stored W has the full rank
            predicted = self._fitted.shares(self._units(rows))
        else:
            predicted = self.bias + centred @ self._weights
        return self._leave_out(predicted, leverage, left_out)

    def _leave_out(self, shares: Array, leverage: Array, left_out: Sequence[Sequence[int]]) -> Array:
        own, of_last = np.zeros(shares.shape[1], np.float32), list[int]()
        for row, (h, images) in enumerate(zip(leverage.tolist(), left_out, strict=True)):
            if images != of_last:  # equal images are often adjacent
                own, of_last = self._targets(np.array(images, int)).sum(axis=0), [*images]
            is_all = len(images) == len(self.images) + self._of_base
            shares[row] = 0 if is_all else (shares[row] - h * own) / (1 - len(images) * h)
        return shares

    def arrays(self) -> Params:
        """Return the arrays of a `WordRegression` of limited rank, for a file.

        `words` are the first right singular vectors of L⁻¹Ũᵀ(Y - ȳ), L Lᵀ = ŨᵀŨ + λI: of the matrices of this rank, W
        then minimizes the regularized error, approximately.
        """
        width, (dimensions, vocabulary) = self._train.features.shape[1], self._products.shape
        limit = max(1, MAX_BYTES // (2 * (width + vocabulary)))
        if self._base:  # W - W₀ is a combination of the ũ: a smaller rank would cut off the words of these images
            limit = len(self._base.projection) + len(self.images) + 1
        rank = min(dimensions, vocabulary, limit)
        lower = np.linalg.cholesky(self._regularized)
        words = right_singular_vectors(np.linalg.solve(lower, self._products), rank).astype(np.float16)
        projection = (self._weights @ words.T.astype(np.float32)).T
        if self._basis is not None:
            projection = projection @ self._basis.T
        projection = projection.astype(np.float16)
        offset = (projection.astype(np.float32) @ self._mean) @ words.astype(np.float32)
        names = naming_words(self._train.captions, self._vocab) & (self.counts > 0)
        if self._base:
            names = (names & (self._base.counts == 0)) | self._base.names
        rare = self._base.rare if self._base else rare_words(self._train.captions, self._vocab) & names[:, None]
        return {
            "projection": projection,
            "words": np.ascontiguousarray(words.T),
            "bias": (self.bias - offset).astype(np.float32),
            "counts": self.counts,
            "names": names.astype(np.uint8),
            "rare": rare.astype(np.uint8),
            "images": np.array([self.count], np.float32),
        }

    def _units(self, rows: Array) -> Array:
        return unit_rows(self._train.features[rows], *self._scales)

    def _centred(self, rows: Array) -> Array:
        centred = self._units(rows) - self._mean
        return centred if self._basis is None else centred @ self._basis

    def _targets(self, images: Array) -> Array:
        """Compute y of images in ascending order. Shapes: (N,) -> (N, V) float32."""
        rows = np.array([row for image in images.tolist() for row in self._train.caption_rows(image)], int)
        image, size = np.searchsorted(images, self._train.image_idxs[rows]), len(self._vocab)
        tokens = self._train.captions[rows].astype(np.int64)
        pairs = np.unique(np.arange(len(rows))[:, None] * size + tokens)
        caption, word = np.divmod(pairs, size)
        shares = 1 / np.bincount(image)[image]
        sums = np.bincount(image[caption] * size + word, shares[caption], len(images) * size)
        targets = sums.reshape(len(images), size).astype(np.float32)
        targets[:, self._excluded] = 0
        return targets

    def _sums(self) -> tuple[Array, Array, Array]:
        """Compute ŨᵀŨ, Ũᵀ(Y - ȳ) = ŨᵀY and ȳ. Shapes: -> (D, D), (D, V), (V,)."""
        origin = -self._mean if self._basis is None else -self._mean @ self._basis
        base = self._base.bias if self._base else np.zeros(len(self._vocab), np.float32)
        of_base, count = np.float32(self._of_base), len(self.images) + self._of_base
        gram, products = of_base * np.outer(origin, origin), of_base * np.outer(origin, base)
        bias = of_base * base.astype(float) / count
        for rows in _blocks(self.images):
            centred, targets = self._centred(rows), self._targets(rows)
            gram += centred.T @ centred
            products += centred.T @ targets
            bias += targets.sum(axis=0, dtype=np.float64) / count
        return gram, products, bias.astype(np.float32)


def right_singular_vectors(rows: Array, number: int) -> Array:
    """Compute the first right singular vectors by subspace iteration.

    Shapes: rows (M, F), number K -> (K, F).
    Source: Halko, Martinsson and Tropp 2011, Finding structure with randomness, algorithms 4.4 and 5.1.
    """
    basis = np.random.default_rng(0).standard_normal((rows.shape[1], number + OVERSAMPLING), dtype=np.float32)
    for _ in range(POWER_ITERATIONS + 1):
        basis, _ = np.linalg.qr(rows.T @ (rows @ basis))
    projected = rows @ basis
    _, rotation = np.linalg.eigh(projected.T @ projected)
    return np.ascontiguousarray((basis @ rotation[:, ::-1]).T[:number])


def _blocks(rows: Array) -> Iterator[Array]:
    """Yield rows in blocks of `BLOCK`."""
    for first in range(0, len(rows), BLOCK):
        yield rows[first : first + BLOCK]


def _digest(features: Array) -> bytes:
    return hashlib.blake2b((features + 0.0).tobytes(), digest_size=16).digest()  # -0.0 equals 0.0


def can_name(vocab: Vocab) -> Array:
    """Return which words have two letters, such as the two of a Hangul syllable, or an ideograph. Shapes: -> (V,)."""
    texts = (unicodedata.normalize("NFD", word) for word in vocab.words)
    letters = ([c for c in text if c.isalpha() or unicodedata.category(c) == "Mc"] for text in texts)
    return np.array([sum(1 + unicodedata.name(c, "").startswith("CJK") for c in word) > 1 for word in letters])


def naming_words(captions: Array, vocab: Vocab) -> Array:
    """Return which words of a vocabulary name things, from their neighbours in captions.

        f(w) = mean over occurrences of w of the mean x of the other words after the same previous word, each weighted
               by the share of these others
        e(w) = share of the occurrences of w before `<END>` or a word with a low f

    In the first pass, x is the share of a word's occurrences that end a caption: high for nouns, low for verbs and
    adjectives. In the second, it is 1 for the words of the first and 0 for others. A word names a thing if it occurs
    where things do, f(w) at least `THING_SHARE` times the mean of all occurrences, and if no other thing follows, as
    after adjectives: e(w) at least 1/2. The words of either pass are returned, without those that one other word mostly
    follows (group of, front of), and without frequent ones that never end or begin a caption, or follow a word that
    frequently begins one (and, to).

    Shapes: captions (C, T), where ids up to `<END>` are no words -> (V,) bool.
    """
    size, end = len(vocab), vocab.end
    before, word, after = (captions[:, i : captions.shape[1] - 2 + i].ravel().astype(np.int64) for i in range(3))
    kept = word > end
    before, word, after = before[kept], word[kept], after[kept]
    if not len(word):
        return np.zeros(size, bool)
    count = np.maximum(np.bincount(word, minlength=size), 1)
    ends = after == end
    pairs, pair_counts = np.unique(before * size + word, return_counts=True)
    previous, follower = np.divmod(pairs, size)
    after_same = np.bincount(before, minlength=size)[previous]
    weights = pair_counts / after_same
    total = np.bincount(follower, weights * (after_same - pair_counts), size)

    def follows(x: Array) -> Array:
        sums = np.bincount(before, x[word], size)[previous] - pair_counts * x[follower]
        return np.asarray(np.bincount(follower, weights * sums, size) / np.maximum(total, 1e-9))

    x, found = np.bincount(word[ends], minlength=size) / count, np.zeros(size, bool)
    for _ in range(PASSES):
        f = follows(x)
        is_thing = f >= THING_SHARE * f[word].mean()
        phrase_ends = np.bincount(word[ends | ~is_thing[after]], minlength=size) / count
        x = (is_thing & (phrase_ends >= 0.5)).astype(float)
        found |= x > 0
    followers, follower_counts = np.unique(word[~ends] * size + after[~ends], return_counts=True)
    most = np.zeros(size)
    np.maximum.at(most, followers // size, follower_counts)
    begins, least = before == vocab.start, FREQUENT * len(captions)
    is_first = np.bincount(word[begins], minlength=size) >= least
    is_apart = np.bincount(word[ends | begins | is_first[before]], minlength=size) > 0
    return np.asarray(found & (2 * most <= count) & (is_apart | (count < least)) & can_name(vocab))
