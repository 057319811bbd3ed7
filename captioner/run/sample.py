"""Captions from a checkpoint: for the images of a split, or for features from a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.blas import set_threads
from captioner.data.corpus import Corpus, Features, Split, check_features
from captioner.data.features import open_features
from captioner.decode import beam, greedy
from captioner.reader import writer
from captioner.run.build import build_corpus
from captioner.run.folder import find_checkpoint
from captioner.run.restore import Restored, check_corpus, check_width, restore
from captioner.team import Team
from captioner.tokenizer import join

BATCH = 256
"""Images, or beams of them, that a thread decodes at a time."""


class Caption(NamedTuple):
    """What the model says of one image, and what people said of it where that is known.

    `log_prob` is natural, of the whole caption; `true` is None where the source cannot tell. `candidates` are the best
    captions with their log-probabilities, likeliest first, where more than one was asked for.
    """

    image: str
    caption: str
    log_prob: float
    references: list[str]
    true: bool | None
    candidates: list[tuple[str, float]] | None = None


def to_dict(caption: Caption) -> dict[str, Any]:
    """A caption for JSON; candidates are there only where they were asked for."""
    record = caption._asdict()
    candidates = record.pop("candidates")
    if candidates is not None:
        record["candidates"] = [{"caption": text, "log_prob": log_prob} for text, log_prob in candidates]
    return record


def open_run(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Restored:
    """Restore the model of a run folder (its best checkpoint) or of a checkpoint file.

    BLAS gets one thread for the whole process.

    Raises: CheckpointError, or ConfigError for overrides.
    """
    restored = restore(find_checkpoint(Path(path)), overrides)
    set_threads(1)
    return restored


def open_corpus(restored: Restored) -> Corpus:
    """The data set that a model was trained on.

    Raises: CheckpointError when it is no longer that of the checkpoint.
    """
    corpus = build_corpus(restored.config)
    check_corpus(restored, corpus)
    return corpus


def caption_split(restored: Restored, split: Split, most: int | None = None, best: int = 1) -> Iterator[Caption]:
    """Caption the images of a split (or the first `most`), in file order, with the `best` candidates of each."""
    for image, found in enumerate(candidates(restored, split.features, most, best=best)):
        references = split.references(image, restored.vocab)
        true = None if split.is_true is None else split.is_true(image, found[0][0].split())
        yield Caption(split.image_ids[image], *found[0], references, true, found if best > 1 else None)


def caption_features(restored: Restored, path: Path, most: int | None = None, best: int = 1) -> Iterator[Caption]:
    """Caption the rows of the `features` in an HDF5 file.

    Raises: DataError, or CheckpointError when the rows are not as wide as the model's.
    """
    features = open_features(path, memory_mib=restored.config.data.memory_mib)
    for row, found in enumerate(candidates(restored, features, most, str(path), best)):
        yield Caption(str(row), *found[0], [], None, found if best > 1 else None)


def describe(
    restored: Restored, features: Features, most: int | None = None, where: str = "the input"
) -> Iterator[tuple[str, float]]:
    """The caption of each row of features (or of the first `most`), with its log-probability, a batch at a time.

    Shapes: features (M, F) as the encoder made them; standardisation is the model's own business.
    Raises: DataError for features that are not finite floats, CheckpointError when they are not the model's width.
    """
    return (found[0] for found in candidates(restored, features, most, where))


def candidates(
    restored: Restored, features: Features, most: int | None = None, where: str = "the input", best: int = 1
) -> Iterator[list[tuple[str, float]]]:
    """The `best` captions of each row, likeliest first; the beam is at least so wide.

    Raises: as `describe`.
    """
    check_features(features, f"{where}: features")
    check_width(restored, features.shape[1], where)
    vocab, options = restored.vocab, restored.config.decode
    banned = [vocab.null, vocab.start, *([vocab.unk] if options.suppress_unk else [])]
    words: dict[str, Any] = {
        "start": vocab.start,
        "end": vocab.end,
        "null": vocab.null,
        "max_length": options.max_length,
    }
    width = max(options.beam, best)
    decode = greedy if width == 1 else partial(beam, width=width)
    team = Team(restored.config.threads)
    write = writer(restored.model, partial(decode, banned=banned, **words), team)
    count, size = min(features.shape[0], most or features.shape[0]), team.size * max(1, BATCH // width)
    for first in range(0, count, size):
        tokens, scores = write(features[np.arange(first, min(first + size, count))])
        for captions, log_probs in zip(tokens.tolist(), scores.tolist(), strict=True):
            pairs = zip(captions[:best], log_probs, strict=False)
            yield [(join(vocab.decode(ids)), log_prob) for ids, log_prob in pairs if log_prob > -np.inf]
