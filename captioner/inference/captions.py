"""Captions from a checkpoint: for the images of a split, or for features from a file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from captioner.data.corpus import Corpus, Features, Split, check_features
from captioner.data.features import open_features
from captioner.errors import CheckpointError, DataError
from captioner.inference.captioner import Captioner
from captioner.inference.ensemble import together
from captioner.inference.find_checkpoint import RERANKER, find_checkpoint
from captioner.inference.reranker_index import Index, build_index, check_index, check_train, load
from captioner.inference.restore import Restored, Speaker, check_corpus, check_width, restore
from captioner.parallel.blas import set_threads
from captioner.preparation.load_corpus import build_corpus


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


def open_captioner(restored: Speaker | Sequence[Speaker], corpus: Corpus | None = None) -> Captioner:
    """What captions by a model, or by several as an ensemble: with the re-ranker that the options of the first ask for.

    The re-ranker is that of the run folder, or else made of the data set that the model was trained on: `corpus`, where
    that is open already. If neither is found, captions are ranked without it, and the captioner has a warning.

    Raises: DataError when what is found is damaged, or belongs to another model; CheckpointError as `together`.
    """
    speaker = together(restored)
    if speaker.config.decode.consensus == 0:
        return Captioner(speaker)
    file = speaker.path.parent / RERANKER
    try:
        index = _find_index(file, speaker, corpus)
    except (DataError, CheckpointError) as error:
        raise DataError(f"decode.consensus: {error}; or -o decode.consensus=0") from error
    if index is not None:
        return Captioner(speaker, index.reranker())
    options, root = speaker.config.decode, speaker.config.data.root
    return Captioner(
        speaker,
        warnings=[
            f"decode.consensus: neither {file} nor the data set {root} was found, so captions are ranked by "
            f"log-probability / length^{options.length_penalty:g} alone; try -o data.root=NEW, or -o decode.consensus=0"
        ],
    )


def _find_index(file: Path, speaker: Speaker, corpus: Corpus | None) -> Index | None:
    if os.path.lexists(file):
        return check_index(file, load(file), speaker)
    root = speaker.config.data.root
    if corpus is None and root is not None and not root.exists():
        return None
    corpus = corpus or open_corpus(speaker)
    check_train(speaker, corpus)
    return build_index(corpus)


def caption_split(captioner: Captioner, split: Split, most: int | None = None, best: int = 1) -> Iterator[Caption]:
    """Caption the images of a split (or the first `most`), in file order, with the `best` candidates of each."""
    vocab = captioner.speaker.vocab
    for image, found in enumerate(captioner.caption(split.features, best, most)):
        references = split.references(image, vocab)
        true = None if split.is_true is None else split.is_true(image, found[0][0].split())
        yield Caption(split.image_ids[image], *found[0], references, true, found if best > 1 else None)


def caption_features(captioner: Captioner, path: Path, most: int | None = None, best: int = 1) -> Iterator[Caption]:
    """Caption the rows of the `features` in an HDF5 file.

    Raises: DataError, or CheckpointError when the rows are not as wide as the model's.
    """
    features = open_features(path, memory_mib=captioner.speaker.config.data.memory_mib)
    _check_rows(captioner.speaker, features, most, str(path))
    for row, found in enumerate(captioner.caption(features, best, most)):
        yield Caption(str(row), *found[0], [], None, found if best > 1 else None)


def describe(
    restored: Speaker | Sequence[Speaker], features: Features, most: int | None = None, where: str = "the input"
) -> Iterator[tuple[str, float]]:
    """The caption of each row of features (or of the first `most`), with its log-probability, a batch at a time.

    Several models are an ensemble. The log-probability is the model's own, whatever the decoder ranks by. What is
    needed besides is made anew in every call: for repeated calls use `open_captioner`, whose warnings are given here as
    those of Python.

    Shapes: features (M, F) as the encoder made them; standardisation is the model's own business.
    Raises: DataError for features that are not finite floats, CheckpointError when they are not the model's width,
    ConfigError for words to suppress that are none of the vocabulary.
    """
    speaker = together(restored)
    _check_rows(speaker, features, most, where)
    captioner = open_captioner(speaker)
    for warning in captioner.warnings:
        warnings.warn(warning, stacklevel=2)
    return (found[0] for found in captioner.caption(features, most=most))


def _check_rows(speaker: Speaker, features: Features, most: int | None, where: str) -> None:
    check_features(features, f"{where}: features", most)
    check_width(speaker, features.shape[1], where)
