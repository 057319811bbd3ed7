"""Scores of captions, and of other captions against the same references."""

import dataclasses

import pytest

from captioner.evaluation.scoring import FEW_IMAGES, EvaluationSet, score_captions, to_dict

TASK = EvaluationSet(
    ["a.jpg", "b.jpg", "c.jpg"],
    [["A man's dog.", "a dog"], ["Two men run!"], ["the red <UNK> stands"]],
    ["A dog", "a cat", "two men run"],
)
CAPTIONS = ["a man 's dog", "two men run", "a <UNK> a <UNK> a"]


def test_scores_that_need_no_references() -> None:
    figures = score_captions(TASK, "me", CAPTIONS, loss=2.0).scores
    assert list(figures)[:3] == ["loss", "bleu1", "bleu2"]
    assert figures["novel"] == pytest.approx(2 / 3)
    assert figures["unk"] == 2 / 12
    assert figures["repeats"] == pytest.approx(1 / 3)
    assert (figures["distinct"], figures["vocabulary"], figures["mean_length"]) == (3, 8, 4)
    assert "novel" not in score_captions(EvaluationSet(TASK.images, TASK.references), "me", CAPTIONS).scores


def test_captions_of_the_same_name_are_all_reported() -> None:
    good, bad = score_captions(TASK, "a", CAPTIONS), score_captions(TASK, "a", ["no", "no", "no"])
    record = to_dict(good, [bad, good])
    assert record["name"] == "a"
    assert list(record["others"]) == ["a (2)", "a (3)"]
    assert record["others"]["a (3)"]["bleu1"] == record["bleu1"] > record["others"]["a (2)"]["bleu1"]


@pytest.mark.parametrize("count", [1, FEW_IMAGES - 1, FEW_IMAGES])
def test_few_images_come_with_a_warning(count: int) -> None:
    task = EvaluationSet([f"{number}.jpg" for number in range(count)], [["a dog"]] * count)
    warnings = to_dict(score_captions(task, "me", ["a cat"] * count))["warnings"]
    assert warnings == (
        ["CIDEr-D needs at least 2 images: that of a single image is 0"]
        if count == 1
        else ["29 images; confidence intervals from fewer than 30 images are unreliable"]
        if count < FEW_IMAGES
        else []
    )


def test_few_images_with_a_mark_come_with_a_warning() -> None:
    task = EvaluationSet([f"{number}.jpg" for number in range(FEW_IMAGES)], [["a dog"]] * FEW_IMAGES)
    parts = {"scores_by_mark": {"not marked": {"images": 30}, "uncertain": {"images": 3}}}
    scored = score_captions(task, "me", ["a cat"] * FEW_IMAGES)
    warnings = to_dict(dataclasses.replace(scored, scores={**scored.scores, **parts}))["warnings"]
    assert warnings == ["3 images uncertain; confidence intervals from fewer than 30 images are unreliable"]
