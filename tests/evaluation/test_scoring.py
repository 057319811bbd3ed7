"""Scores of a model's captions and of other captions, against the same references."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from captioner.evaluation.scoring import (
    EvaluationSet,
    build_evaluation_set,
    intervals,
    score_captions,
    score_model,
    to_dict,
    worst,
)
from captioner.inference.caption import Candidate
from captioner.inference.captioner import Captioner
from captioner.inference.captions import caption_split
from captioner.inference.load import captioner_of, open_corpus, open_run
from captioner.metrics import NAMES, corpus_scores, tokenize

TASK = EvaluationSet(
    ["a.jpg", "b.jpg", "c.jpg"],
    [["A man's dog.", "a dog"], ["Two men run!"], ["the red <UNK> stands"]],
    ["A dog", "a cat", "two men run"],
)
CAPTIONS = ["a man 's dog", "two men run", "a <UNK> a <UNK> a"]


def test_model_scores_are_the_scores_of_its_captions(tiny_run: Path) -> None:
    restored = open_run(tiny_run)
    corpus = open_corpus(restored)
    val = corpus.split("val")
    evaluation_set, rows = build_evaluation_set(corpus, "val")
    scored = score_model(captioner_of(restored), corpus, "val", evaluation_set, rows)
    captions = list(caption_split(captioner_of(restored), val))
    assert (scored.by, scored.captions, evaluation_set.images) == (
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
    candidates = [[Candidate(references[0], -1.0)] for references in evaluation_set.references]
    monkeypatch.setattr(Captioner, "candidates", lambda *_, **__: iter(candidates))
    figures = score_model(captioner_of(restored), corpus, "val", evaluation_set, rows).scores
    assert figures["true"] == 1
    assert figures["bleu4"] == pytest.approx(1)


def test_a_source_without_a_truth_check_has_no_true_score(coco_run: Path) -> None:
    restored = open_run(coco_run)
    corpus = open_corpus(restored)
    evaluation_set, rows = build_evaluation_set(corpus, "val")
    assert evaluation_set.references == [["a café 猫", "a 猫", "<UNK>"]] * 2
    assert score_model(captioner_of(restored), corpus, "val", evaluation_set, rows).scores["true"] is None


def test_scores_that_need_no_references() -> None:
    figures = score_captions(TASK, "me", CAPTIONS, loss=2.0).scores
    assert list(figures)[:3] == ["loss", "bleu1", "bleu2"]
    assert figures["novel"] == pytest.approx(2 / 3)
    assert figures["unk"] == 2 / 12
    assert figures["repeats"] == pytest.approx(1 / 3)
    assert (figures["distinct"], figures["vocabulary"], figures["mean_length"]) == (3, 8, 4)
    assert "novel" not in score_captions(EvaluationSet(TASK.images, TASK.references), "me", CAPTIONS).scores


def test_other_captions_are_reported_with_the_difference() -> None:
    good, bad = score_captions(TASK, "good", CAPTIONS), score_captions(TASK, "bad", ["no", "no", "no"])
    record = to_dict(TASK, good, [bad])
    assert record["images"] == 3
    assert record["bleu1"] == good.scores["bleu1"]
    assert record["intervals"] == intervals(good)
    other = record["others"]["bad"]
    assert other["bleu1"] == bad.scores["bleu1"]
    assert other["difference"] == intervals(good, bad)
    (lower, upper) = other["difference"]["bleu1"]
    assert 0 < lower < upper
    assert "others" not in to_dict(TASK, good)


def test_worst_lists_the_lowest_cider_d_first() -> None:
    entries = worst(TASK, score_captions(TASK, "me", CAPTIONS), 2)
    assert [entry["image"] for entry in entries] == ["c.jpg", "a.jpg"]
    assert entries[0]["caption"] == CAPTIONS[2]
    assert entries[0]["references"] == TASK.references[2]
    assert entries[0]["cider_d"] < entries[1]["cider_d"]


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
