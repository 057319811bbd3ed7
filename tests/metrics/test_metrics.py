"""The metrics equal those of pycocoevalcap: recorded values, and the package itself if installed."""

import json
import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import record
from hypothesis import given
from hypothesis import strategies as st

from captioner.errors import DataError
from captioner.metrics import (
    LOWER_IS_BETTER,
    NAMES,
    CiderD,
    confidence_interval,
    diversity,
    image_scores,
    novelty,
    ptb_tokenize,
    score_rows,
    scores_by_name,
    scores_from_sums,
)
from captioner.metrics.bleu_and_rouge import count, lcs, rouge_l
from captioner.metrics.cider import cider_d

RECORDED = json.loads(record.FILE.read_text())
CAPTIONS = [text.split() for text in RECORDED["captions"]]
REFERENCES = [[text.split() for text in texts] for texts in RECORDED["references"]]

captions_of_few_words = st.lists(st.integers(0, 3), max_size=8)
corpora = st.lists(
    st.tuples(captions_of_few_words, st.lists(captions_of_few_words.filter(bool), min_size=1, max_size=3)),
    min_size=1,
    max_size=5,
)


PEERS = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider_d")
"""The scores of pycocoevalcap, in the order of the recording."""


def scores_of(captions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
    return scores_by_name(score_rows(captions, references))


def test_the_recording_is_for_the_random_corpus() -> None:
    assert record.corpus() == (CAPTIONS, REFERENCES)
    assert [text for text, _ in RECORDED["tokens"]] == record.TEXTS


def test_scores_equal_the_recorded_ones() -> None:
    assert_scores_equal(RECORDED["corpus"], RECORDED["images"], CAPTIONS, REFERENCES)


def assert_scores_equal(corpus: Any, images: Any, captions: Sequence[Any], references: Sequence[Any]) -> None:
    rows, scores = score_rows(captions, references), scores_of(captions, references)
    np.testing.assert_allclose([scores[name] for name in PEERS], corpus, rtol=0, atol=1e-9)
    each = np.transpose([image_scores(rows, name) for name in PEERS])
    np.testing.assert_allclose(each, images, rtol=0, atol=1e-9)


def test_a_changed_word_changes_every_score() -> None:
    changed = [[*words[:-1], "other"] if words else words for words in CAPTIONS]
    scores, others = scores_of(changed, REFERENCES), scores_of(CAPTIONS, REFERENCES)
    assert all(abs(scores[name] - others[name]) > 1e-3 for name in PEERS)


@pytest.mark.parametrize(("text", "words"), RECORDED["tokens"])
def test_tokens_equal_the_recorded_ones(text: str, words: str) -> None:
    assert ptb_tokenize(text) == words.split()


OTHER = ["h", "i", "j", "k", "l", "m"]
"""The caption and reference of a second image, without words of the first: all n-grams have one IDF."""
ONE, TWO = (["a b c d e f"], ["a b c d e g"]), (["a a b c"], ["a b d e f", "b c g"])
NEAR = math.exp(-1 / 72)
"""The factor of CIDEr-D for lengths that differ by one bigram."""
WORKED = {
    # n-grams of ONE: 5 of 6, 4 of 5, 3 of 4, 2 of 3; of TWO: 3 of 4 (a counts once), 2 of 3, 0 of 2, 0 of 1
    "bleu1": (5 / 6, 3 / 4),
    "bleu2": ((5 / 6 * 4 / 5) ** (1 / 2), (3 / 4 * 2 / 3) ** (1 / 2)),
    "bleu3": ((5 / 6 * 4 / 5 * 3 / 4) ** (1 / 3), 0),
    "bleu4": ((5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** (1 / 4), 0),
    # precision and recall: 5/6 and 5/6; the best 2/4 and the best 2/3, F with beta 1.2
    "rouge_l": (5 / 6, 2.44 * (1 / 2) * (2 / 3) / (2 / 3 + 1.44 * (1 / 2))),
    # cosines by n; of TWO, the means of those with both references: 2 / sqrt(6 5) and 2 / sqrt(6 3), and so on
    "cider_d": (
        10 * (5 / 6 + 4 / 5 + 3 / 4 + 2 / 3) / 4,
        10 * NEAR * ((2 / 30**0.5 + 2 / 18**0.5) / 2 + (1 / 12**0.5 + 1 / 6**0.5) / 2) / 4,
    ),
}
"""The scores of ONE and TWO, worked out by hand: each score has both."""


@pytest.mark.parametrize("name", NAMES)
def test_a_score_is_that_of_the_worked_examples_and_ranks_captions(name: str) -> None:
    for (captions, references), expected in zip((ONE, TWO), WORKED[name], strict=True):
        every = [[text.split() for text in references], [OTHER]]
        score, best = image_scores(score_rows([captions[0].split(), OTHER], every), name)
        assert score == pytest.approx(expected, abs=1e-4)
        worst = image_scores(score_rows([OTHER, OTHER], every), name)[0]
        assert sorted((worst, score, best), reverse=name in LOWER_IS_BETTER) == [worst, score, best]
        assert worst != best


@given(st.text(max_size=40))
def test_tokens_are_lower_case_without_spaces(text: str) -> None:
    for word in ptb_tokenize(text):
        assert word == word.lower()
        assert word.split() == [word]


def test_scores_equal_the_package_on_random_corpora() -> None:
    pytest.importorskip("pycocoevalcap")
    for seed in range(20):
        captions, references = record.corpus(seed, images=1 + 2 * seed)
        assert_scores_equal(*record.peer_scores(captions, references), captions, references)


@given(corpora)
def test_scores_depend_on_neither_word_types_nor_image_order(corpus: list) -> None:
    captions, references = zip(*corpus, strict=True)
    scores = scores_of(captions, references)
    named = scores_of(
        [[f"w{word}" for word in words] for words in captions[::-1]],
        [[[f"w{word}" for word in words] for words in texts] for texts in references[::-1]],
    )
    assert named == pytest.approx(scores, abs=1e-12)
    assert all(np.isfinite(list(scores.values())))


@given(corpora)
def test_a_reference_as_caption_has_the_maximum_score(corpus: list) -> None:
    references = [texts for _, texts in corpus]
    scores = scores_of([texts[0] for texts in references], references)
    assert scores["bleu1"] == pytest.approx(1)
    assert scores["rouge_l"] == pytest.approx(1)


@given(captions_of_few_words, captions_of_few_words)
def test_lcs_equals_dynamic_programming(a: list[int], b: list[int]) -> None:
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    for i, j in np.ndindex(len(a), len(b)):
        table[i + 1, j + 1] = table[i, j] + 1 if a[i] == b[j] else max(table[i, j + 1], table[i + 1, j])
    assert lcs(a, b) == table[-1, -1]


def test_n_grams_are_counted() -> None:
    ids = {}
    counts = count([["a", "b", "a", "b"], [], ["b"]], ids)
    assert ids == {"a": 0, "b": 1}
    assert sorted(zip(counts.row.tolist(), counts.order.tolist(), counts.times.tolist(), strict=True)) == [
        (0, 0, 2), (0, 0, 2), (0, 1, 1), (0, 1, 2), (0, 2, 1), (0, 2, 1), (0, 3, 1), (2, 0, 1),
    ]  # fmt: skip
    assert counts.key[counts.row == 2][0] in counts.key[counts.row == 0]


def test_captions_are_scored_independently() -> None:
    scorer, rng = CiderD(REFERENCES), random.Random(1)
    images = [rng.randrange(len(REFERENCES)) for _ in range(200)]
    captions = [rng.choice(CAPTIONS) + ["new"] * rng.randrange(3) for _ in images]
    batch = scorer.score(images, captions)
    alone = [scorer.score([image], [words])[0] for image, words in zip(images, captions, strict=True)]
    np.testing.assert_allclose(batch, alone, rtol=1e-12)
    one_each = [captions[images.index(image)] if image in images else [] for image in range(len(REFERENCES))]
    np.testing.assert_allclose(
        cider_d(one_each, REFERENCES)[images[:1]], scorer.score(images[:1], captions[:1]), rtol=1e-12
    )
    assert scorer.score([], []).shape == (0,)


def test_document_frequencies_from_other_references() -> None:
    whole = CiderD(REFERENCES)
    part = CiderD(REFERENCES[5:9], whole)
    np.testing.assert_allclose(part.score([0, 3, 0], CAPTIONS[:3]), whole.score([5, 8, 5], CAPTIONS[:3]), rtol=1e-12)
    assert CiderD([[["a", "b", "c", "d"]]], whole).score([0], [["a", "b", "c", "d"]])[0] == pytest.approx(10)


def test_empty_captions_are_allowed_but_missing_references_are_not() -> None:
    scores = scores_of([[], []], [[["a"]], [["b"]]])
    assert all(scores[name] == pytest.approx(0, abs=1e-9) for name in {*NAMES} - LOWER_IS_BETTER)
    assert rouge_l([[]], [[[]]]).tolist() == [1]
    assert cider_d([[]], [[[]]]).tolist() == [0]
    with pytest.raises(DataError, match="image 1: expected at least one caption, got none"):
        scores_of([["a"], ["b"]], [[["a"]], []])


def corpus(fraction_right: float, images: int = 200) -> np.ndarray:
    references = [[["a", f"w{image}", "b", "c", "d"]] for image in range(images)]
    captions = [r[0] if image < fraction_right * images else ["x"] * 5 for image, r in enumerate(references)]
    return score_rows(captions, references)


def test_an_interval_matches_the_binomial_distribution() -> None:
    rows = corpus(0.5)
    (lower, upper) = confidence_interval(rows)
    deviation = (0.25 / len(rows)) ** 0.5
    assert upper[0] - lower[0] == pytest.approx(2 * 1.96 * deviation, rel=0.1)
    assert ((lower < scores_from_sums(rows.sum(axis=0))) & (scores_from_sums(rows.sum(axis=0)) < upper)).all()
    np.testing.assert_array_equal(confidence_interval(rows), (lower, upper))


def test_intervals_of_paired_differences() -> None:
    better, worse = corpus(0.6), corpus(0.5)
    (lower, _), (_, upper) = confidence_interval(better, worse), confidence_interval(worse, better)
    assert (lower > 0).all()
    assert (upper < 0).all()
    np.testing.assert_array_equal(confidence_interval(better, better), 0)


def test_diversity_and_novelty() -> None:
    captions = [["a", "dog"], ["a", "dog"], ["a", "a", "a"], []]
    assert diversity(captions) == {"mean_length": 7 / 4, "vocabulary": 2, "distinct": 3, "repeats": 1 / 4}
    assert novelty(captions, [["a", "dog"], ["dog", "a"]]) == 1 / 2
    assert diversity([]) == {"mean_length": 0, "vocabulary": 0, "distinct": 0, "repeats": 0}
