"""Scores of a model: its captions of a split, and the perplexity of the references."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import numpy as np

from captioner.arrays import Array
from captioner.data.batches import sequential_batches
from captioner.data.corpus import Corpus, Split
from captioner.evaluation.scoring import EvaluationSet, ScoredCaptions, score_captions, scores_of_part
from captioner.inference.caption import Attention, CaptionOptions
from captioner.inference.captioner import BATCH, Captioner
from captioner.inference.restore import is_training_split
from captioner.metrics import fraction
from captioner.model.losses import mean_word_loss, perplexity
from captioner.parallel.thread_pool import ThreadPool


def build_evaluation_set(corpus: Corpus, name: str) -> tuple[EvaluationSet, Array]:
    """Return the images of a split that have references, and their rows in the split.

    Raises: DataError when the split does not exist.
    """
    split, vocab, train = corpus.split(name), corpus.vocab, corpus.splits.get("train")
    rows = split.captioned_images
    images = [split.image_ids[row] for row in rows]
    references = [split.references(row, vocab) for row in rows.tolist()]
    train_captions = None if train is None else [train.text(row, vocab) for row in range(len(train.captions))]
    return EvaluationSet(images, references, train_captions), rows


def score_model(
    captioner: Captioner,
    corpus: Corpus,
    split_name: str,
    evaluation_set: EvaluationSet,
    rows: Array,
    name: str = "model",
) -> ScoredCaptions:
    """Score a model's captions of a split, and measure the perplexity of its references.

    Perplexities of different vocabularies cannot be compared: loss and perplexity are None if the vocabulary of the
    data set is not the model's.
    """
    split, loaded = corpus.split(split_name), captioner.loaded
    loss = None
    if corpus.vocab == loaded.vocab:
        loss = mean_word_loss(loaded.model, sequential_batches(split, BATCH), ThreadPool(loaded.config.threads))
    with_attention = split.pointing_game is not None and loaded.model.attends
    decoded = list(captioner.decode(split.features, CaptionOptions(attention=with_attention), regions=split.regions))
    every = [caption.text for caption in decoded]
    captions = [every[row] for row in rows]
    true = None
    if split.is_true is not None:
        true = fraction(sum(split.is_true(row, every[row].split()) for row in rows.tolist()), captions)
    scored = score_captions(
        evaluation_set,
        name,
        captions,
        same_train=is_training_split(loaded, corpus),
        loss=loss,
        perplexity=None if loss is None else perplexity(loss),
        true=true,
        pointing=pointing_accuracy(split, [caption.attention for caption in decoded]),
        decode=asdict(loaded.config.decode),
    )
    if loaded.familiarity is not None:
        marks = np.array([decoded[row].is_unfamiliar for row in rows.tolist()])
        parts = {"familiar": scored.rows[~marks], "unfamiliar": scored.rows[marks]}
        by_familiarity = {name: scores_of_part(part) for name, part in parts.items() if len(part)}
        scored.scores["scores_by_familiarity"] = by_familiarity
    return scored


def pointing_accuracy(split: Split, attention: Iterable[Attention | None]) -> float | None:
    """Compute the fraction of words that name an object of the image, and whose strongest region contains the object.

    None for a data set that does not know the positions of objects, and for a model without attention. `attention` is
    that of the captions of all images of the split.
    """
    if split.pointing_game is None:
        return None
    hits: list[bool] = []
    for image, attended in enumerate(attention):
        if attended is None:
            return None
        hits += split.pointing_game(image, attended.words, attended.weights)
    return fraction(sum(hits), hits)
