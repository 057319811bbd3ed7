"""Captions from a checkpoint: for the images of a split, or for features from a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.blas import set_threads
from captioner.data.corpus import Corpus, Features, Split, check_features
from captioner.data.features import open_features
from captioner.decode import Consensus, rank
from captioner.errors import CheckpointError, DataError
from captioner.reader import writer
from captioner.run.build import build_corpus
from captioner.run.decoder import build_consensus, build_decoder
from captioner.run.folder import find_checkpoint
from captioner.run.restore import Restored, Speaker, check_corpus, check_width, restore
from captioner.run.together import together
from captioner.team import Team
from captioner.tokenizer import join

BATCH = 256
"""Images, or captions of them, that a thread decodes at a time."""


class Caption(NamedTuple):
    """What the model says of one image, and what people said of it where that is known.

    `log_prob` is natural, of the whole caption; `true` is None where the source cannot tell. `candidates` are the
    captions with their log-probabilities, best first, where more than one was asked for.
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


def open_runs(paths: Sequence[str | os.PathLike[str]], overrides: Sequence[str] = ()) -> Speaker:
    """Restore one model, or several that speak together; their probabilities are averaged word by word.

    Raises: as `open_run`; CheckpointError when they do not belong together.
    """
    return together([open_run(path, overrides) for path in paths])


def open_corpus(restored: Speaker) -> Corpus:
    """The data set that a model was trained on.

    Raises: CheckpointError when it is no longer that of the checkpoint, DataError when it is not there.
    """
    root = restored.config.data.root
    if root is not None and not root.exists():
        raise DataError(f"{root}: the data set is not there; if it has moved, tell where it is: -o data.root=NEW")
    corpus = build_corpus(restored.config)
    check_corpus(restored, corpus)
    return corpus


def consensus_of(restored: Speaker) -> Consensus | None:
    """What ranks a model's captions by those of the data set that it was trained on, where its options ask for that.

    Raises: DataError when that is not there, or is another.
    """
    options = restored.config.decode
    if options.consensus == 0:
        return None
    try:
        return build_consensus(options, open_corpus(restored))
    except (DataError, CheckpointError) as error:
        raise DataError(
            f"decode.consensus: needs the training's data set: {error}; or -o decode.consensus=0"
        ) from error


def caption_split(
    restored: Speaker, split: Split, most: int | None = None, best: int = 1, consensus: Consensus | None = None
) -> Iterator[Caption]:
    """Caption the images of a split (or the first `most`), in file order, with the `best` candidates of each."""
    for image, found in enumerate(candidates(restored, split.features, most, best=best, consensus=consensus)):
        references = split.references(image, restored.vocab)
        true = None if split.is_true is None else split.is_true(image, found[0][0].split())
        yield Caption(split.image_ids[image], *found[0], references, true, found if best > 1 else None)


def caption_features(restored: Speaker, path: Path, most: int | None = None, best: int = 1) -> Iterator[Caption]:
    """Caption the rows of the `features` in an HDF5 file.

    Raises: DataError, or CheckpointError when the rows are not as wide as the model's.
    """
    features = open_features(path, memory_mib=restored.config.data.memory_mib)
    for row, found in enumerate(candidates(restored, features, most, str(path), best)):
        yield Caption(str(row), *found[0], [], None, found if best > 1 else None)


def describe(
    restored: Speaker | Sequence[Speaker],
    features: Features,
    most: int | None = None,
    where: str = "the input",
    consensus: Consensus | None = None,
) -> Iterator[tuple[str, float]]:
    """The caption of each row of features (or of the first `most`), with its log-probability, a batch at a time.

    Several models speak together. The log-probability is the model's own, whatever the decoder ranks by.

    Shapes: features (M, F) as the encoder made them; standardisation is the model's own business.
    Raises: DataError for features that are not finite floats, CheckpointError when they are not the model's width,
    ConfigError for words to suppress that are none of the vocabulary.
    """
    return (found[0] for found in candidates(restored, features, most, where, consensus=consensus))


def candidates(
    restored: Speaker | Sequence[Speaker],
    features: Features,
    most: int | None = None,
    where: str = "the input",
    best: int = 1,
    images: Array | None = None,
    consensus: Consensus | None = None,
) -> Iterator[list[tuple[str, float]]]:
    """The `best` captions of each row, best first: of a beam at least so wide, or so many samples, likeliest first.

    `images` numbers the rows for the noise of samples, by default in their order. A `consensus` that the options ask
    for and nobody gives is made here.

    Raises: as `describe`.
    """
    speaker = together(restored)
    check_features(features, f"{where}: features")
    check_width(speaker, features.shape[1], where)
    options, vocab = speaker.config.decode, speaker.vocab
    decode, width = build_decoder(options, vocab, best)
    consensus = consensus or consensus_of(speaker)
    team = Team(speaker.config.threads)
    write = writer(speaker.model, decode, team)
    count, size = min(features.shape[0], most or features.shape[0]), team.size * max(1, BATCH // width)
    for first in range(0, count, size):
        rows = np.arange(first, min(first + size, count))
        tokens, scores = write(features[rows], rows if images is None else images[rows])
        if not np.isfinite(scores[:, 0]).all():
            raise CheckpointError(
                f"{speaker.path}: expected captions of finite probability from the model, got another: its numbers are "
                "too large; use another checkpoint"
            )
        if consensus is not None:
            expected = consensus.expected(features[rows], list(map(vocab.unpadded, tokens)))
            tokens, scores = rank(tokens, scores, expected, vocab.null, options.consensus, options.length_power)
        for captions, log_probs in zip(tokens.tolist(), scores.tolist(), strict=True):
            pairs = zip(captions[:best], log_probs, strict=False)
            yield [(join(vocab.decode(ids)), log_prob) for ids, log_prob in pairs if log_prob > -np.inf]
