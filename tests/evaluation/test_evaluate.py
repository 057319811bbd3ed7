"""Runs and files are scored against the same references; runs with other features are rejected."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.captioning.captioner import Captioner
from captioner.captioning.load import open_corpus, open_run
from captioner.data.corpus import Corpus
from captioner.errors import CheckpointError
from captioner.evaluation.evaluate import (
    evaluate_split,
    open_captioners,
    short_names,
)
from captioner.evaluation.scoring import build_evaluation_set, intervals, score_captions
from captioner.files import checkpoint


def opened(
    *runs: Captioner | Path, ensemble: bool = False, data: Path | None = None
) -> tuple[list[tuple[str, Captioner]], Corpus]:
    return open_captioners(runs, {}, ensemble, data)


def test_every_run_writes_its_own_captions(tiny_run: Path, photo_run: Path) -> None:
    captioners, corpus = opened(tiny_run, photo_run)
    evaluated = evaluate_split(captioners, corpus, "val")
    for run, scored in zip((tiny_run, photo_run), evaluated.scored, strict=True):
        alone = list(Captioner(open_run(run)).caption_split(corpus.split("val"), vocab=corpus.vocab))
        assert scored.captions == [caption.text for caption in alone]
        assert evaluated.evaluation_set.references == [caption.references for caption in alone]
    first, second = evaluated.scored
    assert first.scores["perplexity"] > 1
    assert second.scores["perplexity"] is None
    assert second.scores["novel"] is None
    others = evaluated.record()["others"]
    assert list(others) == [second.name]
    assert others[second.name]["difference"] == intervals(first, second)
    assert first.scores.keys() == second.scores.keys()


DECOMPOSED = (
    "Un cafe\u0301 et une glac\u0327e a\u0300 la cre\u0300me \u2764\ufe0f chef\u00ade \U0001f469\u200d\U0001f373"
)
COMPOSED = "un caf\u00e9 et une gla\u00e7e \u00e0 la cr\u00e8me \u2764 chefe \U0001f469 \U0001f373"


def test_references_of_a_data_set_are_normalized_as_captions_are(photo_run: Path) -> None:
    _, corpus = opened(photo_run)
    split = corpus.split("val")
    texts = [DECOMPOSED] * len(split.captions)
    splits = {name: dataclasses.replace(split, texts=texts) for name in ("train", "val")}
    corpus = dataclasses.replace(corpus, splits=splits)
    evaluation_set, rows = build_evaluation_set(corpus, "val")
    for text in (DECOMPOSED, COMPOSED):
        scores = score_captions(evaluation_set, "x", [text] * len(rows)).scores
        assert (scores["bleu4"], scores["novel"]) == (pytest.approx(1), 0)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["runs/a/best.h5", "runs/b/best.h5", "model.h5"], ["a", "b", "model.h5"]),
        (["runs/a/best.h5", "runs/a/last.h5"], ["a", "a/last.h5"]),
        (["one/run/best.h5", "two/run/best.h5"], ["one/run", "two/run"]),
        (["a/best.h5", "a/best.h5"], ["a", "a"]),
    ],
)
def test_names_are_the_shortest_that_differ(paths: list[str], expected: list[str]) -> None:
    assert short_names(list(map(Path, paths))) == expected


@given(st.lists(st.lists(st.sampled_from(["a", "b", "best.h5", "last.h5"]), min_size=1, max_size=4), min_size=1))
def test_different_checkpoints_have_different_names(paths: list[list[str]]) -> None:
    folders = [Path(*parts, "best.h5") for parts in paths]
    names = dict(zip(folders, short_names(folders), strict=True))
    assert len(set(names.values())) == len(names)
    assert all(os.path.abspath(folder.parent).endswith(name) for folder, name in names.items())


def test_a_data_set_may_be_a_folder_of_cs231n(coco_run: Path) -> None:
    _, corpus = opened(coco_run, data=coco_run.parent / "data")
    assert corpus.digest == open_corpus(open_run(coco_run)).digest


def test_a_run_with_another_encoder_or_feature_width_is_rejected(
    tiny_run: Path, coco_run: Path, own_run: Path, photo_run: Path
) -> None:
    expected = f"^{coco_run}/best.h5: features: expected encoder cs231n:vgg16_fc7_pca, got scenes-"
    with pytest.raises(CheckpointError, match=expected):
        opened(tiny_run, coco_run)
    with pytest.raises(CheckpointError, match=expected):
        opened(coco_run, data=photo_run.parent / "data.h5")
    saved = checkpoint.load(coco_run / "best.h5")
    encoder = dataclasses.replace(saved.meta, encoder=open_run(tiny_run).meta.encoder)
    shutil.rmtree(own_run)
    own_run.mkdir()
    checkpoint.save(own_run / "best.h5", dataclasses.replace(saved, meta=encoder))
    with pytest.raises(CheckpointError, match=r"^the data set: features: expected 8 numbers per image, got \d+; "):
        opened(tiny_run, own_run)
