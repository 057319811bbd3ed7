"""The captions of teachers: beam candidates, ranked by a consensus that leaves out the image itself."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distilling import BEAM, captions_of

from captioner.data.corpus import Corpus
from captioner.inference.captioner import Captioner
from captioner.inference.load import open_corpus, open_run
from captioner.inference.reranker_index import build_index, index_rows
from captioner.inference.restore import Restored
from captioner.training import teacher_captions
from captioner.training.teacher_captions import build_training_corpus


def test_the_captions_are_the_distinct_candidates_of_the_beam(student: Callable[..., Path], teacher: Path) -> None:
    options = tuple(one for one in BEAM if "consensus" not in one)
    run = student("student", teacher_overrides=options)
    loaded = open_run(teacher, options)
    data = open_corpus(loaded)
    found = captions_of(run, data.vocab)
    assert len(found) == 40
    assert all(len(set(one)) == len(one) > 0 and "" not in one for one in found)
    decoded = Captioner(loaded).decode(data.split("train").features, n_best=6)
    expected = [[text for text, _ in one.candidates if text] for one in decoded]
    assert found == [list(dict.fromkeys(one)) for one in expected]


def test_the_captions_of_an_image_take_no_part_in_its_consensus(reranked_run: Restored, corpus: Corpus) -> None:
    """Plant references that are exactly the candidates: the image's own must not be recognized."""
    split = corpus.split("train")
    captioner = Captioner(reranked_run)
    candidates = next(captioner.search(split.features, np.array([3]))).tokens[0]
    vocab, target = corpus.vocab, candidates[-1]  # the worst candidate of the model itself
    planted = np.full((len(split.captions), len(target) + 1), vocab.null, np.int32)
    planted[:, :3] = vocab.start, vocab.word_to_idx["a"], vocab.end

    def best(features: np.ndarray, with_target: Sequence[int], own: np.ndarray | None) -> list[int]:
        captions = planted.copy()
        for row in np.flatnonzero(np.isin(split.image_idxs, with_target)):
            captions[row, 1:] = target
        plant = dataclasses.replace(split, captions=captions, features=features)
        index = build_index(dataclasses.replace(corpus, splits={**corpus.splits, "train": plant}))
        # the weights of the consensus outweigh the log-probabilities
        config = dataclasses.replace(
            reranked_run.config, decode=dataclasses.replace(reranked_run.config.decode, consensus=1000)
        )
        judged = Captioner(dataclasses.replace(reranked_run, config=config), index.reranker())
        return next(judged.search(features, np.array([3]), index_rows=own)).tokens[0, 0].tolist()

    own, nobody = index_rows(split), np.full(len(split.features), -1)
    unlike = np.array(split.features)
    unlike[np.arange(len(unlike)) != 3] = -np.array(split.features)[3]  # its only neighbour is itself
    assert best(unlike, [3], nobody) == target.tolist(), "its own captions decide if they take part"
    assert best(unlike, [3], own) != target.tolist()
    copied = unlike.copy()
    copied[4] = copied[3]
    assert best(copied, [3, 4], own) == target.tolist(), "another image takes part, even a copy"
    assert best(copied, [3, 4], None) != target.tolist(), "unlike in the evaluation of a photograph"


def test_the_generation_leaves_each_image_out(
    reranked_run: Restored, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    captioner = Captioner(reranked_run, build_index(corpus).reranker())
    search = captioner.search

    def spied(*args: Any, index_rows: np.ndarray, **more: Any) -> Any:
        seen.append(index_rows)
        return search(*args, index_rows=index_rows, **more)

    monkeypatch.setattr(captioner, "search", spied)
    parts = list(teacher_captions.generate(captioner, corpus, done=7))
    np.testing.assert_array_equal(np.concatenate([part["images"] for part in parts]), np.arange(7, 40))
    np.testing.assert_array_equal(seen[0], np.arange(40))


def test_index_rows_are_the_places_of_the_images(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.inference.reranker_index.MAX_IMAGES", 7)
    split = corpus.split("train")
    kept = np.flatnonzero(split.image_idxs != 5)
    train_split = dataclasses.replace(split, captions=split.captions[kept], image_idxs=split.image_idxs[kept])
    rows = index_rows(train_split)
    index = build_index(dataclasses.replace(corpus, splits={"train": train_split}))
    assert rows[5] == -1
    assert sorted(rows[rows >= 0]) == list(range(7))
    weights = index.reranker().weights(np.array(split.features))
    own = [weights[image, row] for image, row in enumerate(rows.tolist()) if row >= 0]
    assert own == [0] * 7, "recognized by their features too"


def test_the_student_trains_on_the_best_captions_and_some_references(student: Callable[..., Path]) -> None:
    run = student("student", "distill.captions_per_image=2", "distill.references=1")
    restored = open_run(run)
    data = open_corpus(restored)
    split = build_training_corpus(restored.config, data, run / "captions.h5").split("train")
    found, original = captions_of(run, data.vocab), data.split("train")
    assert split.features is original.features
    for image in range(40):
        texts = [split.text(row, data.vocab) for row in split.caption_rows(image)]
        reference = original.captions[original.caption_rows(image)[0]]
        assert texts == [*found[image][:2], " ".join(data.vocab.decode(reference.tolist()))]
