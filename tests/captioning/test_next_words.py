"""The probabilities of the next word: those of the model; decoding by hand with them gives the greedy caption."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import captioner
from captioner.captioning.load import open_corpus, open_run
from captioner.captioning.saved_model import SavedModel
from captioner.data.corpus import Split
from captioner.errors import CaptionerError, CheckpointError, UsageError
from captioner.photos.captioner import PhotoCaptioner

Array = np.ndarray


@pytest.fixture(scope="module")
def varied(varied_model: SavedModel) -> PhotoCaptioner:
    return PhotoCaptioner(varied_model)


def by_hand(model: PhotoCaptioner, **image: Any) -> tuple[list[str], float, list[Array]]:
    """The words of the greedy caption, its log-probability, and the attention weights of each word."""
    words: list[str] = []
    log_prob, weights = 0.0, []
    while len(words) < model.loaded.config.decode.max_length:
        found = model.next_words(words=words, n=4, **image)
        word, probability = next(pair for pair in found.candidates if pair.word not in ("<UNK>", "<NULL>", "<START>"))
        log_prob += math.log(probability)
        if found.attention is not None:
            weights.append(found.attention.weights[0])
        if word == "<END>":
            break
        words.append(word)
    return words, log_prob, weights


def test_probabilities_are_those_of_the_model(varied: PhotoCaptioner, val_split: Split) -> None:
    vocab, model, row = varied.loaded.vocab, varied.loaded.model, val_split.features[:1]
    words = list(vocab.words[5:8])
    state = model.start(row)
    for word in ["<START>", *words]:
        log_probs, state = model.for_inference().step(np.array([vocab.word_to_idx[word]]), state)
    every, attention = varied.next_words(features=row[0], words=words, n=len(vocab) + 5)
    assert attention is None
    assert {word: pytest.approx(p) for word, p in every} == dict(zip(vocab.words, np.exp(log_probs[0]), strict=True))
    assert [p for _, p in every] == sorted((p for _, p in every), reverse=True)
    assert math.fsum(p for _, p in every) == pytest.approx(1)
    assert varied.next_words(features=row, words=" ".join(words), n=2).candidates == every[:2], "a text and one row"
    assert len(varied.next_words(features=row).candidates) == 10


def test_decoding_by_hand_is_greedy_decoding(varied: PhotoCaptioner, val_split: Split) -> None:
    greedy = varied.with_options({"decode.beam_width": 1})
    texts = set()
    for row in val_split.features[:4]:
        (caption,) = greedy.caption(features=row)
        words, log_prob, _ = by_hand(varied, features=row)
        assert (" ".join(words), log_prob) == (caption.text, pytest.approx(caption.log_prob, rel=1e-5))
        texts.add(caption.text)
    assert len(texts) > 1


def test_attention_weights_are_those_of_the_word(attention_run: Path) -> None:
    model = captioner.load(attention_run, {"decode.beam_width": 1, "decode.max_length": 5})
    split = open_corpus(open_run(attention_run)).split("val")
    image = {"features": split.features[0], "regions": split.regions[:1][0]}
    (caption,) = model.caption(**image, attention=True)
    words, _, weights = by_hand(model, **image)
    assert " ".join(words) == caption.text
    np.testing.assert_allclose(weights[: len(words)], caption.attention.weights, atol=1e-6)
    attention = model.next_words(**image).attention
    assert attention.maps.shape == (1, *split.regions.shape[1:3])
    assert attention.weights.sum() == pytest.approx(1)
    with pytest.raises(CheckpointError, match="expected features with image regions, got features alone"):
        model.next_words(features=image["features"])


def test_probabilities_of_an_ensemble_are_means(tiny_run: Path, val_split: Split) -> None:
    first, both = captioner.load(tiny_run), captioner.load([tiny_run, tiny_run])
    expected = dict(first.next_words(features=val_split.features[0], n=5).candidates)
    assert dict(both.next_words(features=val_split.features[0], n=5).candidates) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, UsageError, "^next_words: expected photographs or features=, one of them$"),
        ({"features": 2}, UsageError, r"^next_words: expected one image, got 2$"),
        ({"features": 1, "n": 0}, UsageError, "^next_words: n: expected at least 1, got 0$"),
        ({"features": 1, "words": ["circl"]}, UsageError, r"got circl \(did you mean circle\?\)$"),
        ({"features": 1, "words": "<END>"}, UsageError, "^next_words: words: expected words of the vocabulary, got "),
        ({"features": 1, "words": [3]}, UsageError, "got 3"),
        ({"features": 1, "regions": np.zeros((2, 2, 3))}, UsageError, "^next_words: regions= has no effect"),
        ({"features": "abc"}, CaptionerError, "^next_words: features: "),
    ],
)
def test_invalid_arguments(
    arguments: dict[str, Any], error: type, message: str, varied: PhotoCaptioner, val_split: Split
) -> None:
    if isinstance(arguments.get("features"), int):
        arguments = {**arguments, "features": val_split.features[: arguments["features"]]}
    with pytest.raises(error, match=message):
        varied.next_words(**arguments)


def test_probabilities_that_are_not_finite_are_an_error(varied_model: SavedModel, val_split: Split) -> None:
    params = {name: np.full_like(w, np.nan) for name, w in varied_model.model.params.items()}
    broken = dataclasses.replace(varied_model, model=varied_model.model.with_params(params))
    with pytest.raises(CheckpointError, match="expected finite log-probabilities"):
        PhotoCaptioner(broken).next_words(features=val_split.features[0])
