"""Score the captions of models and files against the same references."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from captioner.arrays import Array
from captioner.captioning.caption import MARKS, NOT_MARKED, Attention
from captioner.captioning.captioner import BATCH, BEST_ALONE, Captioner
from captioner.captioning.find_checkpoint import BEST, LAST
from captioner.captioning.load import (
    ModelPath,
    check_encoder,
    check_reads_data,
    ensemble_of,
    is_training_split,
    open_corpus,
    open_run,
    shares_of_split,
)
from captioner.config.overrides import Values
from captioner.data.batches import sequential_batches
from captioner.data.corpus import Corpus, Split
from captioner.evaluation.caption_files import match_images, read_caption_file, read_references
from captioner.evaluation.scoring import (
    EvaluationSet,
    ScoredCaptions,
    build_evaluation_set,
    score_captions,
    scores_of_part,
    to_dict,
)
from captioner.metrics import fraction
from captioner.model.captioning_model import mean_word_loss
from captioner.model.losses import perplexity
from captioner.parallel.thread_pool import ThreadPool


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
    captioner = captioner.with_options({**BEST_ALONE, "caption.attention": with_attention})
    shares = shares_of_split(loaded, corpus, split_name)
    decoded = list(captioner.decode(split.features, split.regions, shares=shares))
    every = [caption.text for caption in decoded]
    captions = [every[row] for row in rows]
    correct = None
    if split.is_correct is not None:
        correct = fraction(sum(split.is_correct(row, every[row].split()) for row in rows.tolist()), captions)
    scored = score_captions(
        evaluation_set,
        name,
        captions,
        same_train=is_training_split(loaded, corpus),
        checkpoint=loaded.checkpoint or None,
        loss=loss,
        perplexity=None if loss is None else perplexity(loss),
        correct=correct,
        pointing=pointing_accuracy(split, [caption.attention for caption in decoded]),
        decode=asdict(loaded.config.decode),
    )
    marks = [decoded[row].marks for row in rows.tolist()]
    if any(marks):
        groups = {NOT_MARKED: scored.rows[[not own for own in marks]]}
        groups |= {mark: scored.rows[[mark in own for own in marks]] for mark in MARKS}
        scored.scores["scores_by_mark"] = {mark: scores_of_part(group) for mark, group in groups.items() if len(group)}
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


class Evaluated(NamedTuple):
    """Scored captions of one split; `scored[0]` is compared with each of the others."""

    split: str
    evaluation_set: EvaluationSet
    scored: list[ScoredCaptions]

    def record(self) -> dict[str, Any]:
        """Convert the scores to JSON types."""
        first, *others = self.scored
        return {"split": self.split, **to_dict(first, others)}


def evaluate_file(file: Path, references: Path, split: str | None) -> Evaluated:
    """Score the captions in a file against the references in a file, or in one split of it.

    Raises: DataError for a file that cannot be read, or whose captions do not match the images.
    """
    evaluation_set, numbers = read_references(references, split)
    captions = match_images(read_caption_file(file), file, evaluation_set.images, numbers)
    return Evaluated(split or references.name, evaluation_set, [score_captions(evaluation_set, file.name, captions)])


def evaluate_split(captioners: Sequence[tuple[str, Captioner]], corpus: Corpus, split: str) -> Evaluated:
    """Score the captions of named models on a split.

    Raises: DataError when the split does not exist.
    """
    evaluation_set, rows = build_evaluation_set(corpus, split)
    scored = [score_model(captioner, corpus, split, evaluation_set, rows, name) for name, captioner in captioners]
    return Evaluated(split, evaluation_set, scored)


def open_captioners(
    runs: Sequence[Captioner | ModelPath], overrides: Values, ensemble: bool, data: Path | None
) -> tuple[list[tuple[str, Captioner]], Corpus]:
    """Open runs with their names, and the data set to score them on: `data`, or else that of the first run.

    The vocabularies of the runs may differ. With `ensemble`, all runs form one Captioner.

    Raises: CheckpointError, also for features of another encoder than a model's; DataError; ConfigError for overrides;
    UsageError when `data` is no data set.
    """
    overrides = {"caption.n_best": 1, **overrides}  # the best caption is scored
    captioners = [run if isinstance(run, Captioner) else None for run in runs]
    models = [run.loaded if isinstance(run, Captioner) else open_run(run, overrides) for run in runs]
    names = short_names([model.path for model in models])
    if ensemble and len(models) > 1:
        captioners, models, names = [None], [ensemble_of(models)], [f"ensemble of {len(models)}"]
    if data is not None:
        check_reads_data(models[0], data)
    corpus = open_corpus(models[0], data)
    for model in models[1:]:
        check_encoder(model, corpus)
    opened = [captioner or Captioner(model) for captioner, model in zip(captioners, models, strict=True)]
    return list(zip(names, opened, strict=True)), corpus


def _folder(checkpoint: Path) -> Path:
    """Return what names a checkpoint: the folder of `best.h5`, or the file."""
    return checkpoint.parent if checkpoint.name == BEST else checkpoint


def short_names(checkpoints: Sequence[Path]) -> list[str]:
    """Name checkpoints by their run folders, or by the shortest ends of their paths that differ.

    `best.h5` is omitted, and `last.h5` has at least its folder before it.
    """
    paths = [_folder(Path(os.path.abspath(path))) for path in checkpoints]
    names, length = [""] * len(paths), 0
    while "" in names or len(set(names)) < len(set(paths)):
        length += 1
        names = [str(Path(*path.parts[-length - (path.name == LAST) :])) for path in paths]
    return names
