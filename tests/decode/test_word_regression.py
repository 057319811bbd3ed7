"""Word regression, and which words name things."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from captioner.arrays import Array
from captioner.captioning.saved_model import summary_of
from captioner.captioning.training_summary import summary_from
from captioner.data.corpus import Split
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.decode import word_regression
from captioner.decode.agreement import CONTEXTS
from captioner.decode.word_regression import MIN_IMAGES, RARE, RIDGE, TrainingFit, WordRegression, naming_words

START, END, UNK = 1, 2, 3
SMALL = {"BLOCK": 7, "MAX_DIMENSIONS": 20}


@pytest.fixture(autouse=True, scope="module")
def small_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setattr(word_regression, name, value)
        yield


class Case:
    """Images with up to three captions, some without any, the last ones with equal features; and their regression."""

    def __init__(self, seed: int, count: int, words: int, width: int, copies: int) -> None:
        rng = np.random.default_rng(seed)
        image_idxs = np.repeat(np.arange(count, dtype=np.int32), rng.integers(0, 4, count))
        image_idxs = image_idxs if len(image_idxs) else np.zeros(1, np.int32)
        captions = np.zeros((len(image_idxs), 7), np.int32)
        features, directions = rng.standard_normal((count, width)), rng.standard_normal((4 + words, width))
        for row, image in enumerate(image_idxs.tolist()):
            ids = rng.integers(UNK, 4 + words, rng.integers(1, 6))
            captions[row, : len(ids) + 2] = [START, *ids, END]
            features[image] += directions[ids].sum(axis=0)
        features[max(0, count - copies) :] = features[0]
        self.vocab = Vocab([*SPECIAL, *(f"w{word}" for word in range(words))])
        self.split = Split(captions, image_idxs, features.astype(np.float16), [*map(str, range(count))])
        self.mean, self.std = rng.standard_normal(width), rng.uniform(0.5, 2, width)
        self.fit = TrainingFit(self.split, self.vocab, self.mean, self.std)
        z = (np.asarray(self.split.features, float) - self.mean) / self.std
        self.units = z / np.linalg.norm(z, axis=1, keepdims=True)
        self.references = [captions[self.split.caption_rows(image)] for image in self.fit.images]
        self.counts = sum(np.isin(np.arange(4 + words), ids) for ids in self.references) * (np.arange(4 + words) > UNK)

    def has(self, captions: Array) -> Array:
        """Whether captions contain each word that has an expected share."""
        words = np.where(self.counts >= MIN_IMAGES, np.arange(len(self.vocab)), -1)
        return np.array([np.isin(words, ids) for ids in captions])

    def targets(self) -> Array:
        return np.array([self.has(captions).mean(axis=0) for captions in self.references])

    def weights(self, image: int) -> Array:
        """The weights of the targets in the prediction for an image that leaves it and its copies out.

        They are those of kernel ridge regression with the linear kernel.
        """
        kept = (self.split.features[self.fit.images] != self.split.features[image]).any(axis=1)
        weights, count = np.zeros(len(kept)), int(kept.sum())
        if count:
            units = self.units[self.fit.images[kept]]
            mean = units.mean(axis=0)
            kernel = (units - mean) @ (units - mean).T + RIDGE * np.eye(count)
            weights[kept] = 1 / count + np.linalg.solve(kernel, (units - mean) @ (self.units[image] - mean))
        return weights

    def similarity(self, tokens: Array, shares: Array) -> float:
        """The cosine of the dense TF-IDF vectors in float64."""
        counts, idf = np.bincount(tokens, minlength=len(self.vocab)), self.idf()
        norms = [float(np.linalg.norm(idf * row)) or 1 for row in (counts, shares)]
        return float(np.dot(counts * idf / norms[0], idf * shares / norms[1]))

    def idf(self) -> Array:
        return np.asarray(np.log(len(self.references) / np.maximum(self.counts, 1)) * (self.counts >= MIN_IMAGES))

    def regression(self) -> WordRegression:
        return summary_from({"mean": self.mean, "std": self.std, **self.fit.arrays()}, self.vocab).regression


SHAPES: dict[str, Any] = {
    "seed": st.integers(0, 999),
    "count": st.sampled_from([1, 2, 3, 5, 30]),
    "words": st.integers(1, 9),
    "width": st.sampled_from([1, 3, 19, 40]),
    "copies": st.integers(0, 3),
}


def check_left_out(**shape: int) -> None:
    case = Case(**shape)
    fit, count, captioned = case.fit, shape["count"], len(case.split.captioned_images)
    expected = np.array([case.weights(image) for image in range(count)]) @ case.targets()
    assert len(fit.images) == min(captioned, word_regression.MAX_DIMENSIONS if shape["width"] > 20 else captioned)
    np.testing.assert_allclose(fit.shares(np.arange(count)), expected, atol=2e-5)
    order = np.random.default_rng(0).permutation(count)
    parts = np.concatenate([fit.shares(order[: count // 2]), fit.shares(order[count // 2 :])])
    np.testing.assert_allclose(parts, expected[order], atol=2e-5)


@pytest.mark.slow
@example(seed=0, count=30, words=6, width=40, copies=3)
@given(**SHAPES)
def test_shares_equal_those_of_a_regression_without_the_image(**shape: int) -> None:
    check_left_out(**shape)


@pytest.mark.parametrize("part", ["references", "leverage", "copies"])
def test_the_comparison_finds_what_is_not_left_out(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out = TrainingFit._leave_out

    def wrong(fit: TrainingFit, shares: Array, leverage: Array, left_out: Sequence[Any]) -> Array:
        left_out = {"references": [[]] * len(left_out), "copies": [images[:1] for images in left_out]}.get(
            part, left_out
        )
        return leave_out(fit, shares, leverage - (part == "leverage") / len(fit.images), left_out)

    monkeypatch.setattr(TrainingFit, "_leave_out", wrong)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_left_out(seed=0, count=30, words=6, width=19, copies=3)


def check_started(**shape: int) -> None:
    """Compare a regression that starts from one of another vocabulary with least squares in float64."""
    case, rng, width = Case(**shape), np.random.default_rng(shape["seed"]), shape["width"]
    own, size = case.vocab.words[4:], len(case.vocab)
    known = Vocab([*SPECIAL, "other", *rng.permutation(own)[: size // 2].tolist(), "another"])
    factors = rng.standard_normal((len(known), 2)).astype("f"), rng.standard_normal((2, width)).astype("f")
    counts = np.where(np.arange(len(known)) > UNK, rng.integers(0, 90, len(known)), 0).astype("f")
    names = (rng.integers(0, 2, len(known)) > 0) & (counts > 0)
    bias = rng.uniform(0, 1, len(known)).astype("f")
    rare = rng.random((len(known), CONTEXTS)) < 0.3
    base = WordRegression(known, factors[1], factors[0], bias, counts, names, rare, 99)
    ids = {word: known.word_to_idx[word] for word in case.vocab.words if word in known.word_to_idx}
    prior = np.zeros((width + 1, size))
    for i, word in enumerate(case.vocab.words):
        prior[:, i] = [*factors[0][ids[word]] @ factors[1], bias[ids[word]]] if word in ids else 0
    mean, std = case.mean.astype("f"), case.std.astype("f")
    fit = TrainingFit(case.split, case.vocab, mean, std, base.in_vocabulary(case.vocab))
    words = np.where(np.arange(size) > UNK, np.arange(size), -1)
    targets = np.array([np.mean([np.isin(words, ids) for ids in captions], axis=0) for captions in case.references])

    def shares(images: Array) -> Array:
        """Solve W u + b = y for some images, and √λ W = √λ W₀ and √μ b = √μ b₀."""
        units = case.units[fit.images[images]]
        root = np.sqrt([RIDGE] * width + [word_regression.BASE_INTERCEPT])
        rows = np.concatenate([np.hstack([units, np.ones((len(units), 1))]), np.diag(root)])
        weights = np.linalg.lstsq(rows, np.concatenate([targets[images], root[:, None] * prior]))[0]
        return np.asarray(case.units @ weights[:-1] + weights[-1])

    others = [np.flatnonzero((case.split.features[fit.images] != row).any(axis=1)) for row in case.split.features]
    left_out = np.array([shares(kept)[i] for i, kept in enumerate(others)])
    np.testing.assert_allclose(fit.shares(np.arange(len(others))), left_out, atol=5e-5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_regression, "MAX_BYTES", 1)  # limits the rank of a base, not what own images add
        stored = summary_of(Path("model.h5"), {"mean": mean, "std": std, **fit.arrays()}, case.vocab, width)
    assert stored is not None
    regression = stored.regression
    everywhere = shares(np.arange(len(targets)))
    np.testing.assert_allclose(regression.shares(case.units.astype("f")), everywhere, atol=0.02)  # of float16
    np.testing.assert_allclose(stored.leave_one_out(case.split)(np.arange(len(others))), left_out, atol=0.05)
    for i, word in enumerate(case.vocab.words):
        before, images = counts[ids[word]] if word in ids else 0, np.count_nonzero(targets[:, i])
        count = before + 3 * images if before else regression.images * images / (len(targets) + 2)
        assert regression.counts[i] == pytest.approx(min(count, regression.images))
        assert (regression.idf[i] > 0) == (3 <= count < regression.images), "also for own words of one image"
        assert word not in ids or not counts[ids[word]] or regression.names[i] == names[ids[word]]
        assert regression.rare[i].tolist() == (rare[ids[word]].tolist() if word in ids else [False] * CONTEXTS)


@pytest.mark.slow
@example(seed=0, count=30, words=6, width=40, copies=3)
@given(**SHAPES)
def test_a_regression_that_starts_from_another_one(**shape: int) -> None:
    check_started(**shape)


@pytest.mark.parametrize("name", ["words", "counts"])
def test_the_comparison_finds_another_start(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(base: WordRegression, vocab: Vocab) -> WordRegression:
        right = mapped(base, vocab)
        return dataclasses.replace(right, **{name: getattr(right, name)[::-1]})

    mapped = WordRegression.in_vocabulary
    monkeypatch.setattr(WordRegression, "in_vocabulary", wrong)
    with pytest.raises(AssertionError):
        check_started(seed=0, count=30, words=6, width=19, copies=3)


def test_features_of_9000_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_regression, "MAX_DIMENSIONS", 8192)
    check_left_out(seed=0, count=6, words=3, width=9000, copies=0)


@given(**SHAPES)
def test_the_similarity_equals_its_definition(**shape: int) -> None:
    case = Case(**shape)
    regression = case.regression()
    np.testing.assert_allclose(regression.idf, case.idf(), rtol=1e-6, atol=1e-7)
    shares, rng = case.fit.shares(np.arange(shape["count"])), np.random.default_rng(0)
    tokens = rng.integers(0, len(case.vocab), (len(shares), 2, 6))
    expected = [[case.similarity(ids, row) for ids in two] for two, row in zip(tokens, shares, strict=True)]
    np.testing.assert_allclose(regression.similarity(tokens, shares), expected, atol=1e-5)


@example(seed=0, count=30, words=9, width=19, copies=0, rank=2)
@given(**SHAPES, rank=st.integers(1, 9))
def test_arrays_of_limited_rank_are_the_best(rank: int, **shape: int) -> None:
    """The training error plus λ |W|² exceeds that of the whole W by the squares of the singular values left out."""
    case = Case(**shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_regression, "MAX_BYTES", 2 * rank * (shape["width"] + len(case.vocab)))
        regression = case.regression()
    units, targets = case.units[case.fit.images], case.targets()
    centred = units - units.mean(axis=0)
    lower = np.linalg.cholesky(centred.T @ centred + RIDGE * np.eye(units.shape[1]))
    left, singular, right = np.linalg.svd(np.linalg.solve(lower, centred.T @ targets), full_matrices=False)
    whole = np.linalg.solve(lower.T, left * singular @ right)

    def loss(weights: Array) -> float:
        errors = centred @ weights + targets.mean(axis=0) - targets
        return float(np.square(errors).sum() + RIDGE * np.square(weights).sum())

    assert len(regression.projection) <= rank
    weights = (regression.words @ regression.projection).T
    assert loss(weights) == pytest.approx(loss(whole) + np.square(singular[rank:]).sum(), abs=1e-4)
    np.testing.assert_allclose(regression.shares(units), units @ weights + regression.bias, atol=1e-5)
    np.testing.assert_allclose(regression.shares(units).mean(axis=0), targets.mean(axis=0), atol=1e-4)


# --- names

WORDS = {"a": 90, "dog": 10, "dogs": 10, "bus": 10, "buses": 10, "bicycle": 10, "bikes": 10, "bike": 10, "man": 50,
         "men": 50, "pan": 10, "pans": 10, "brown": 10, "runs": 10, "unknown": 2}  # fmt: skip
NAMES = ("dog", "dogs", "bus", "buses", "bicycle", "bike", "bikes", "man", "men", "pans", "unknown")
VOCAB = Vocab([*SPECIAL, *WORDS])


@pytest.fixture
def named() -> WordRegression:
    """A regression with counts of words in 100 images, of which some name things."""
    counts = np.array([0] * 4 + [*WORDS.values()], np.float32)
    nothing = np.zeros((1, 3), np.float32), np.zeros((len(VOCAB), 1), np.float32), 0 * counts
    rare = np.zeros((len(VOCAB), CONTEXTS), bool)
    rare[VOCAB.word_to_idx["dogs"], 0] = True
    return WordRegression(VOCAB, *nothing, counts, np.isin(VOCAB.words, NAMES), rare, images=100)


def tokens_of(*captions: str) -> Array:
    return VOCAB.encode([caption.split() for caption in captions])[:, 1:]


def test_things_that_are_named_twice(named: WordRegression) -> None:
    assert named.idf[VOCAB.word_to_idx["man"]] < RARE < named.idf[VOCAB.word_to_idx["dog"]]
    twice = "a dog a dog", "a dog dogs", "buses bus", "bicycle a bike", "bikes a bicycle"
    once = "a dog a bus", "brown dog brown bus runs runs", "a man a man", "unknown unknown", ""
    tokens = tokens_of(*twice, *once).reshape(2, 5, -1)
    assert named.names_twice(tokens).tolist() == [[True] * 5, [False] * 5]


def test_keywords_sum_the_forms_of_a_thing(named: WordRegression) -> None:
    def keywords(least: float, **expected: float) -> list[tuple[str, float]]:
        (pairs,) = named.keywords(np.array([[expected.get(word, 0.0) for word in VOCAB.words]]), least)
        return [tuple(pair) for pair in pairs]

    shares = {"a": 1.0, "brown": 0.9, "dogs": 0.3, "dog": 0.25, "bike": 0.7, "bicycle": 0.8, "bus": -0.2, "buses": 0.1}
    assert keywords(0.3, **shares) == [("bicycle", 1.0), ("dog", 0.55)]
    assert keywords(0.1, **shares) == [("bicycle", 1.0), ("dog", 0.55), ("bus", 0.1)]
    assert keywords(2, **shares) == []
    assert keywords(0.3, man=0.7, dog=0.4) == [("dog", 0.4), ("man", 0.7)], "specific before general"
    assert keywords(0.3, men=0.5, pans=0.6) == [("pans", 0.6), ("man", 0.5)], "pan names nothing"
    nameless = dataclasses.replace(named, names=np.zeros(len(VOCAB), bool))
    assert nameless.keywords(np.ones((2, len(VOCAB))), 0) == [[], []]


def test_guidance_adds_the_weighted_tfidf_of_words(named: WordRegression) -> None:
    shares = np.random.default_rng(0).standard_normal((2, len(VOCAB)))
    bonus = named.guidance(shares, 2.0)
    np.testing.assert_allclose(bonus, 2 * named.idf * shares, atol=1e-5)
    assert (bonus[:, VOCAB.word_to_idx["dog"]] != 0).all()
    assert not bonus[:, [START, END, UNK, VOCAB.word_to_idx["unknown"]]].any()


def test_captions_are_sorted_by_log_probability_and_similarity(named: WordRegression) -> None:
    """Those that name a thing twice, or have *a dogs*, are after the others, and missing ones last."""
    captions = "a dog", "a bus runs runs", "dog dogs", "a dogs", ""
    tokens, log_probs = tokens_of(*captions)[None], np.array([[-3.0, -4.5, -0.1, -0.2, -np.inf]])
    shares = 0.1 + np.isin(VOCAB.words, ["runs"])[None]

    def order(weight: float, power: float) -> list[int]:
        ranked, scores = named.rerank(tokens, log_probs, shares, weight, power)
        places = [captions.index(" ".join(VOCAB.decode(ids))) for ids in ranked[0].tolist()]
        np.testing.assert_array_equal(scores[0], log_probs[0, places])
        return places

    assert order(0, 0) == [0, 1, 2, 3, 4]
    assert order(0, 1) == [1, 0, 2, 3, 4], "-4.5 / 5 > -3 / 3"
    similarities = named.similarity(tokens, shares)[0]
    difference = 1.5 / (similarities[1] - similarities[0])
    assert order(0.9 * difference, 0) == [0, 1, 2, 3, 4]
    assert order(1.1 * difference, 0) == [1, 0, 2, 3, 4]


ARTICLES, ADJECTIVES, NOUNS = ("a", "the"), ("red", "big", "old"), ("dog", "cat", "boy", "table", "ball", "tree")
VERBS, PREPOSITIONS = ("running", "sitting", "lying"), ("near", "under", "behind")


def sentences(seed: int, count: int, most_adjectives: int) -> list[list[str]]:
    """Captions such as `a big dog running under the table`."""
    rng = np.random.default_rng(seed)

    def phrase() -> list[str]:
        adjectives = [str(rng.choice(ADJECTIVES)) for _ in range(rng.integers(0, most_adjectives + 1))]
        return [str(rng.choice(ARTICLES)), *adjectives, str(rng.choice(NOUNS))]

    return [
        [*phrase(), *([str(rng.choice(VERBS))] * int(rng.integers(2))), str(rng.choice(PREPOSITIONS)), *phrase()]
        for _ in range(count)
    ]


def names_in(captions: list[list[str]]) -> set[str]:
    vocab = Vocab.build(captions)
    found = naming_words(vocab.encode(captions), vocab)
    assert found.shape == (len(vocab),)
    return {vocab.words[word] for word in np.flatnonzero(found)}


@pytest.mark.parametrize("most_adjectives", [0, 1, 2])
@given(seed=st.integers(0, 99))
def test_the_nouns_of_a_grammar(most_adjectives: int, seed: int) -> None:
    assert names_in(sentences(seed, 500, most_adjectives)) == set(NOUNS)


def test_a_word_before_one_and_the_same_word_names_nothing() -> None:
    captions = sentences(0, 500, 1)
    groups = [["a", "group", "of", *caption[1:]] for caption in captions[:100]]
    assert names_in([*captions, *groups]) == set(NOUNS)


def test_a_frequent_word_that_is_only_between_phrases_names_nothing() -> None:
    captions = [[*caption, "in", "red", "and", *caption[-2:]] for caption in sentences(0, 100, 1)]
    assert names_in(captions) == set(NOUNS)


def test_words_that_name_have_two_letters_or_an_ideograph() -> None:
    other = {"dog": "犬", "cat": "개", "boy": "い", "table": "😀", "ball": "x"}
    captions = [[other.get(word, word) for word in caption] for caption in sentences(0, 500, 1)]
    assert names_in(captions) == {"犬", "개", "tree"}


@pytest.mark.parametrize("caption", [[], ["a"], ["dog"], ["a", "dog", "running"]])
def test_few_captions(caption: list[str]) -> None:
    assert names_in([caption]) <= set(caption)
    assert names_in([caption] * 20) <= set(caption)
