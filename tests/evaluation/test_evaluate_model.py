"""Scores of a model on a split: those of its captions, the perplexity of the references, and pointing accuracy."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.arrays import Batch
from captioner.captioning.caption import Attention, Caption
from captioner.captioning.captioner import Captioner
from captioner.captioning.load import ensemble_of, open_corpus, open_run
from captioner.captioning.saved_model import LoadedModel, SavedModel
from captioner.data.corpus import Corpus, Split
from captioner.data.vocabulary import Vocab
from captioner.evaluation.evaluate import pointing_accuracy, score_model
from captioner.evaluation.scoring import ScoredCaptions, build_evaluation_set
from captioner.metrics import NAMES, ptb_tokenize, score_rows, scores_by_name


def opened(run: Path) -> tuple[SavedModel, Corpus, Split]:
    """Return the model of a run, its data set, and the split val."""
    restored = open_run(run)
    corpus = open_corpus(restored)
    return restored, corpus, corpus.split("val")


def scored(model: LoadedModel, corpus: Corpus) -> ScoredCaptions:
    return score_model(Captioner(model), corpus, "val", *build_evaluation_set(corpus, "val"))


def test_images_inside_and_outside_the_training_domain_have_scores(familiar_run: Path) -> None:
    restored, corpus, _ = opened(familiar_run)
    scores = scored(restored, corpus).scores
    parts = scores["scores_by_mark"]
    assert {name: part["images"] for name, part in parts.items()} == {"not marked": 5, "outside the training domain": 3}
    mean = sum(part["images"] * part["cider_d"] for part in parts.values()) / 8  # the IDF is that of all images
    assert scores["cider_d"] == pytest.approx(mean)
    assert parts["not marked"]["cider_d"] > parts["outside the training domain"]["cider_d"] > 0
    unmarked = scored(open_run(familiar_run, {"decode.unfamiliar_below": 0.0}), corpus).scores
    assert "scores_by_mark" not in unmarked
    assert unmarked["cider_d"] == scores["cider_d"]


def with_splits(corpus: Corpus, **splits: Split) -> Corpus:
    return dataclasses.replace(corpus, splits={**corpus.splits, **splits})


def test_model_scores_are_the_scores_of_its_captions(tiny_run: Path) -> None:
    restored, corpus, val = opened(tiny_run)
    evaluation_set, _ = build_evaluation_set(corpus, "val")
    name, texts, _, scores = dataclasses.astuple(scored(restored, corpus))
    captions = list(Captioner(restored).caption_split(val))
    assert (name, texts) == ("model", [caption.text for caption in captions])
    assert (evaluation_set.images, evaluation_set.references) == ([*val.image_ids], [c.references for c in captions])
    losses = restored.model.word_losses(Batch(val.features[val.image_idxs], val.captions))
    assert scores["loss"] == pytest.approx(losses.mean(), rel=1e-6)
    assert scores["perplexity"] == pytest.approx(math.exp(losses.mean()), rel=1e-6)
    assert scores["correct"] == sum(bool(caption.correct) for caption in captions) / 10
    references = [list(map(ptb_tokenize, caption.references)) for caption in captions]
    assert {name: scores[name] for name in NAMES} == scores_by_name(
        score_rows(list(map(ptb_tokenize, texts)), references)
    )


def test_reference_captions_are_true_and_have_bleu_1(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restored, corpus, _ = opened(tiny_run)
    evaluation_set, _ = build_evaluation_set(corpus, "val")
    decoded = [Caption("", references[0], -1.0, [], None, []) for references in evaluation_set.references]
    monkeypatch.setattr(Captioner, "decode", lambda *_, **__: iter(decoded))
    scores = scored(restored, corpus).scores
    assert scores["correct"] == 1
    assert scores["bleu4"] == pytest.approx(1)


def test_a_source_without_a_truth_check_has_no_true_score(coco_run: Path) -> None:
    restored, corpus, _ = opened(coco_run)
    assert build_evaluation_set(corpus, "val")[0].references == [["a café 猫", "a 猫", "<UNK>"]] * 2
    assert scored(restored, corpus).scores["correct"] is None


def test_images_without_references_are_not_scored(tiny_run: Path) -> None:
    restored, corpus, val = opened(tiny_run)
    kept = val.image_idxs != 3
    part = dataclasses.replace(val, captions=val.captions[kept], image_idxs=val.image_idxs[kept])
    corpus = with_splits(corpus, val=part)
    np.testing.assert_array_equal(build_evaluation_set(corpus, "val")[1], [0, 1, 2, 4, 5, 6, 7, 8, 9])
    captions = [caption.text for caption in Captioner(restored).caption_split(val)]
    assert scored(restored, corpus).captions == [*captions[:3], *captions[4:]]


def test_another_training_split_has_no_perplexity_and_no_novelty(tiny_run: Path) -> None:
    restored, corpus, val = opened(tiny_run)
    scores, train = scored(restored, corpus).scores, corpus.split("train")
    part = dataclasses.replace(train, captions=train.captions[:-1], image_idxs=train.image_idxs[:-1])
    wider = dataclasses.replace(corpus, vocab=Vocab([*corpus.vocab.words, "xylophone"]))
    cases: list[tuple[Corpus, dict[str, Any]]] = [
        (with_splits(corpus, train=part), {}),
        (wider, {"loss": None, "perplexity": None}),
        (dataclasses.replace(corpus, splits={"val": val}), {}),
    ]
    for other, unknown in cases:
        assert scored(restored, other).scores == {**scores, "novel": None, **unknown}


def test_pointing_accuracy_counts_the_words_of_all_images(attention_run: Path) -> None:
    loaded, _, val = opened(attention_run)
    every, expected = [], []
    for image in range(10):
        words = val.references(image, loaded.vocab)[0].split()
        weights = np.random.default_rng(image).dirichlet(np.ones(10), len(words))
        expected += val.pointing_game(image, words, weights)
        every.append(Attention(words, weights, (3, 3)))
    assert pointing_accuracy(val, every) == pytest.approx(np.mean(expected))
    assert len(expected) >= 20


def test_pointing_accuracy_uses_the_attention_maps(attention_run: Path) -> None:
    loaded, corpus, val = opened(attention_run)
    for model in (loaded, ensemble_of([loaded, loaded])):
        captioner = Captioner(model)
        attending = captioner.with_options({"caption.attention": True})
        maps = [decoded.attention for decoded in attending.decode(val.features, regions=val.regions)]
        assert scored(model, corpus).scores["pointing"] == pointing_accuracy(val, maps) is not None


def test_other_models_and_data_sets_have_no_pointing_accuracy(attention_run: Path, tiny_run: Path) -> None:
    plain, (loaded, corpus, val) = open_run(tiny_run), opened(attention_run)
    unknown = with_splits(corpus, val=dataclasses.replace(val, pointing_game=None))
    for model, data in ((plain, corpus), (ensemble_of([loaded, plain]), corpus), (loaded, unknown)):
        assert scored(model, data).scores["pointing"] is None
