"""Scores of a model on a split: those of its captions, the perplexity of the references, and pointing accuracy."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from captioner.evaluation.score_model import build_evaluation_set, pointing_accuracy, score_model
from captioner.inference.caption import Attention, Candidate, Decoded
from captioner.inference.caption_features import caption_split
from captioner.inference.captioner import Captioner
from captioner.inference.load import captioner_of, ensemble_of, open_corpus, open_run
from captioner.metrics import NAMES, corpus_scores, tokenize
from captioner.text.vocabulary import Vocab


def test_model_scores_are_the_scores_of_its_captions(tiny_run: Path) -> None:
    restored = open_run(tiny_run)
    corpus = open_corpus(restored)
    val = corpus.split("val")
    evaluation_set, rows = build_evaluation_set(corpus, "val")
    scored = score_model(captioner_of(restored), corpus, "val", evaluation_set, rows)
    captions = list(caption_split(captioner_of(restored), val))
    assert (scored.name, scored.captions, evaluation_set.images) == (
        "model",
        [c.text for c in captions],
        list(val.image_ids),
    )
    assert evaluation_set.references == [c.references for c in captions]
    losses = restored.model.word_losses(val.features[val.image_idxs], val.captions)
    assert scored.scores["loss"] == pytest.approx(losses.mean(), rel=1e-6)
    assert scored.scores["perplexity"] == pytest.approx(math.exp(losses.mean()), rel=1e-6)
    assert scored.scores["true"] == sum(bool(c.true) for c in captions) / 10
    scores = corpus_scores([tokenize(c.text) for c in captions], [list(map(tokenize, c.references)) for c in captions])
    assert {name: scored.scores[name] for name in NAMES} == scores


def test_reference_captions_are_true_and_have_bleu_1(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restored = open_run(tiny_run)
    corpus = open_corpus(restored)
    evaluation_set, rows = build_evaluation_set(corpus, "val")
    decoded = [Decoded([Candidate(references[0], -1.0)]) for references in evaluation_set.references]
    monkeypatch.setattr(Captioner, "decode", lambda *_, **__: iter(decoded))
    figures = score_model(captioner_of(restored), corpus, "val", evaluation_set, rows).scores
    assert figures["true"] == 1
    assert figures["bleu4"] == pytest.approx(1)


def test_a_source_without_a_truth_check_has_no_true_score(coco_run: Path) -> None:
    restored = open_run(coco_run)
    corpus = open_corpus(restored)
    evaluation_set, rows = build_evaluation_set(corpus, "val")
    assert evaluation_set.references == [["a café 猫", "a 猫", "<UNK>"]] * 2
    assert score_model(captioner_of(restored), corpus, "val", evaluation_set, rows).scores["true"] is None


def test_images_without_references_are_not_scored(tiny_run: Path) -> None:
    restored = open_run(tiny_run)
    corpus = open_corpus(restored)
    val = corpus.split("val")
    kept = val.image_idxs != 3
    part = dataclasses.replace(val, captions=val.captions[kept], image_idxs=val.image_idxs[kept])
    corpus = dataclasses.replace(corpus, splits={**corpus.splits, "val": part})
    evaluation_set, rows = build_evaluation_set(corpus, "val")
    np.testing.assert_array_equal(rows, [0, 1, 2, 4, 5, 6, 7, 8, 9])
    scored = score_model(captioner_of(restored), corpus, "val", evaluation_set, rows)
    captions = [c.text for c in caption_split(captioner_of(restored), val)]
    assert scored.captions == [*captions[:3], *captions[4:]]


def test_another_training_split_has_no_perplexity_and_no_novelty(tiny_run: Path) -> None:
    restored = open_run(tiny_run)
    corpus = open_corpus(restored)
    own = score_model(captioner_of(restored), corpus, "val", *build_evaluation_set(corpus, "val")).scores
    train = corpus.split("train")
    part = dataclasses.replace(train, captions=train.captions[:-1], image_idxs=train.image_idxs[:-1])
    fewer = dataclasses.replace(corpus, splits={**corpus.splits, "train": part})
    found = score_model(captioner_of(restored), fewer, "val", *build_evaluation_set(fewer, "val")).scores
    assert found == {**own, "novel": None}
    words = [*corpus.vocab.words, "xylophone"]
    wider = dataclasses.replace(corpus, vocab=Vocab(words))
    found = score_model(captioner_of(restored), wider, "val", *build_evaluation_set(wider, "val")).scores
    assert found == {**own, "novel": None, "loss": None, "perplexity": None}
    only = dataclasses.replace(corpus, splits={"val": corpus.split("val")})
    found = score_model(captioner_of(restored), only, "val", *build_evaluation_set(only, "val")).scores
    assert found == {**own, "novel": None}


def test_pointing_accuracy_counts_the_words_of_all_images(attention_run: Path) -> None:
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


def test_pointing_accuracy_uses_the_attention_maps(attention_run: Path) -> None:
    loaded = open_run(attention_run)
    corpus = open_corpus(loaded)
    val = corpus.split("val")
    for model in (loaded, ensemble_of([loaded, loaded])):
        captioner = captioner_of(model, corpus)
        maps = [decoded.attention for decoded in captioner.decode(val.features, regions=val.regions, attention=True)]
        scored = score_model(captioner, corpus, "val", *build_evaluation_set(corpus, "val"))
        assert scored.scores["pointing"] == pointing_accuracy(val, maps) is not None


def test_other_models_and_data_sets_have_no_pointing_accuracy(attention_run: Path, tiny_run: Path) -> None:
    plain, loaded = open_run(tiny_run), open_run(attention_run)
    corpus = open_corpus(loaded)
    val = corpus.split("val")
    unknown = dataclasses.replace(corpus, splits={"val": dataclasses.replace(val, pointing_game=None)})
    for model, data in ((plain, corpus), (ensemble_of([loaded, plain]), corpus), (loaded, unknown)):
        scored = score_model(captioner_of(model), data, "val", *build_evaluation_set(data, "val"))
        assert scored.scores["pointing"] is None
