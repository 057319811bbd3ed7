"""Pointing accuracy of models with attention, and its absence."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from captioner.evaluation.pointing import pointing_accuracy
from captioner.evaluation.score_model import build_evaluation_set, score_model
from captioner.inference.caption import Attention
from captioner.inference.load import captioner_of, ensemble_of, open_corpus, open_run


def test_the_words_of_all_images_count(attention_run: Path) -> None:
    """With weights that point at the true region for every other image."""
    loaded = open_run(attention_run)
    val = open_corpus(loaded).split("val")
    every, expected = [], []
    for image in range(10):
        words = val.references(image, loaded.vocab)[0].split()
        weights = np.random.default_rng(image).dirichlet(np.ones(10), len(words))
        expected += val.pointing_game(image, words, weights)
        every.append(Attention(words, weights, (3, 3)))
    assert pointing_accuracy(val, every) == pytest.approx(np.mean(expected))
    assert len(expected) >= 20


def test_a_score_uses_the_attention_maps(attention_run: Path) -> None:
    loaded = open_run(attention_run)
    corpus = open_corpus(loaded)
    val = corpus.split("val")
    for model in (loaded, ensemble_of([loaded, loaded])):
        captioner = captioner_of(model, corpus)
        maps = [one.attention for one in captioner.decode(val.features, regions=val.regions, attention=True)]
        scored = score_model(captioner, corpus, "val", *build_evaluation_set(corpus, "val"))
        assert scored.scores["pointing"] == pointing_accuracy(val, maps) is not None


def test_other_models_and_data_sets_have_none(attention_run: Path, tiny_run: Path) -> None:
    plain, loaded = open_run(tiny_run), open_run(attention_run)
    corpus = open_corpus(loaded)
    val = corpus.split("val")
    unknown = dataclasses.replace(corpus, splits={"val": dataclasses.replace(val, pointing_game=None)})
    for model, data in ((plain, corpus), (ensemble_of([loaded, plain]), corpus), (loaded, unknown)):
        scored = score_model(captioner_of(model), data, "val", *build_evaluation_set(data, "val"))
        assert scored.scores["pointing"] is None
