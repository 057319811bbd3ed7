"""How good captions are: those of a model, and those of anybody else, beside what people said of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from captioner.arrays import Array
from captioner.data.batches import in_order
from captioner.data.corpus import Corpus, Split
from captioner.inference.captioner import BATCH, Captioner
from captioner.metrics import NAMES, figures, interval, named, novel, score_rows, share, tokenize, wording
from captioner.model.perplexity import mean_word_loss, perplexity
from captioner.parallel.thread_pool import ThreadPool
from captioner.text.vocabulary import UNK, Vocab


@dataclass(frozen=True)
class Task:
    """Images with their references, and where they are known the captions that were trained on."""

    images: list[str]
    references: list[list[str]]
    train: list[list[str]] | None = None

    @cached_property
    def words(self) -> list[list[list[str]]]:
        """The references in the metrics' words."""
        return [list(map(tokenize, several)) for several in self.references]

    @cached_property
    def trained(self) -> list[list[str]] | None:
        """The captions of train in the metrics' words."""
        return None if self.train is None else [tokenize(text) for several in self.train for text in several]


@dataclass(frozen=True)
class Judged:
    """Captions of the images of a task: what each adds to the scores, and the figures of all by name."""

    by: str
    captions: list[str]
    rows: Array
    figures: dict[str, Any]


def judge(task: Task, by: str, captions: Sequence[str], **known: Any) -> Judged:
    """Score captions, one an image; `known` are figures that are there already, and come first.

    BLEU, ROUGE-L and CIDEr-D, then: words a caption, different words, different captions, the share of captions that
    repeat a bigram, the share of words that are `<UNK>`, and the share of captions that train does not have.
    """
    words = list(map(tokenize, captions))
    rows = score_rows(words, task.words)
    scores = named(rows)
    every = [word for caption in words for word in caption]
    rest: dict[str, Any] = {**wording(words), "unk": share(every.count(UNK.lower()), every)}
    if task.trained is not None:
        rest["novel"] = novel(words, task.trained)
    return Judged(by, list(captions), rows, {**known, **scores, **rest})


def references_of(split: Split, vocab: Vocab) -> list[list[str]]:
    """The references of every image of a split, in file order; of some images there may be none."""
    references: list[list[str]] = [[] for _ in split.image_ids]
    for row, image in enumerate(split.image_idxs.tolist()):
        references[image].append(split.text(row, vocab))
    return references


def task_of(corpus: Corpus, name: str) -> tuple[Task, Array]:
    """The images of a split that have references, and their rows.

    Raises: DataError when there is no such split.
    """
    split = corpus.split(name)
    references = references_of(split, corpus.vocab)
    rows = np.array([row for row, several in enumerate(references) if several])
    train = references_of(corpus.splits["train"], corpus.vocab) if "train" in corpus.splits else None
    images = [split.image_ids[row] for row in rows]
    return Task(images, [references[row] for row in rows], train), rows


def judge_model(captioner: Captioner, corpus: Corpus, name: str, task: Task, rows: Array) -> Judged:
    """Score the model's own captions of a split, and how well it foretells the references."""
    split, loaded = corpus.split(name), captioner.loaded
    loss = mean_word_loss(loaded.model, in_order(split, BATCH), ThreadPool(loaded.config.threads))
    said = [found[0].text for found in captioner.candidates(split.features)]
    captions = [said[row] for row in rows]
    true = None
    if split.is_true is not None:
        true = share(sum(split.is_true(row, said[row].split()) for row in rows.tolist()), captions)
    return judge(task, "model", captions, loss=loss, perplexity=perplexity(loss), true=true)


def intervals(judged: Judged, other: Judged | None = None) -> dict[str, list[float]]:
    """The 95 % interval of each score, or of its difference from the score of other captions of the same images."""
    bounds = interval(judged.rows, None if other is None else other.rows)
    return dict(zip(NAMES, bounds.T.tolist(), strict=True))


def to_dict(task: Task, judged: Judged, others: Sequence[Judged] = ()) -> dict[str, Any]:
    """The figures for JSON; those of other captions come with the first one's difference from them."""
    record = {"images": len(task.images), **judged.figures, "intervals": intervals(judged)}
    if others:
        record["others"] = {
            other.by: {**other.figures, "intervals": intervals(other), "difference": intervals(judged, other)}
            for other in others
        }
    return record


def worst(task: Task, judged: Judged, most: int) -> list[dict[str, Any]]:
    """The images whose captions have the least CIDEr-D, worst first, with their own scores, caption and references."""
    scores = figures(judged.rows)
    order = np.argsort(scores[:, NAMES.index("cider_d")], kind="stable")[:most].tolist()
    return [
        {
            "image": task.images[image],
            "caption": judged.captions[image],
            **dict(zip(NAMES, scores[image].tolist(), strict=True)),
            "references": task.references[image],
        }
        for image in order
    ]
