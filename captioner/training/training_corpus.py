"""The data set that training batches are taken from: in distillation, teacher captions replace the references."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from captioner.arrays import Array
from captioner.config.options import Config
from captioner.data.corpus import Corpus, Split, check_captions, check_image_idxs
from captioner.errors import ConfigError, DataError
from captioner.text.vocabulary import Vocab
from captioner.training.teacher_captions import Provenance, TeacherCaptions, check_data, load

TEACHERS = "teachers"
"""The key of the teachers' identities in `Corpus.about`."""


def build_training_corpus(config: Config, corpus: Corpus, captions: Path) -> Corpus:
    """Return a data set with the training captions of the configured objective.

    `captions` is the file of teacher captions, which only distillation needs.

    Raises: CheckpointError for captions that are missing, damaged, or of another data set; ConfigError for more
    captions than the teacher's beam has; DataError when no image has a caption.
    """
    return TRAINING_CORPORA[config.train.objective](config, corpus, captions)


def _references(config: Config, corpus: Corpus, captions: Path) -> Corpus:
    return corpus


def _distilled(config: Config, corpus: Corpus, captions: Path) -> Corpus:
    found = load(captions)
    check_data(captions, found, corpus)
    check_beam(config, found.provenance)
    options = config.distill
    train = distilled_split(
        corpus.split("train"), found, corpus.vocab, options.captions_per_image, options.references, str(captions)
    )
    return dataclasses.replace(corpus, splits={**corpus.splits, "train": train}, about={**corpus.about, **about(found)})


TRAINING_CORPORA: Mapping[str, Callable[[Config, Corpus, Path], Corpus]] = {
    "cross_entropy": _references,
    "self_critical": _references,
    "distillation": _distilled,
}
"""Training captions by objective."""


def about(captions: TeacherCaptions) -> dict[str, object]:
    """Return the identities and decoding options of the teachers, for readers."""
    known = captions.provenance
    pairs = zip(known.teachers, known.checkpoints, strict=True)
    return {TEACHERS: [{"name": name, "checkpoint": digest, "decode": known.decode} for name, digest in pairs]}


def check_beam(config: Config, provenance: Provenance) -> None:
    """Raises: ConfigError when `distill.captions_per_image` is larger than the teacher's beam width."""
    wanted, width = config.distill.captions_per_image, provenance.decode["beam_width"]
    if wanted > width:
        raise ConfigError(
            [
                f"distill.captions_per_image: expected at most the beam width of {provenance.teachers[0]}, {width}, "
                f"got {wanted}; try --teacher-set decode.beam_width={max(10, wanted)}, or "
                f"-o distill.captions_per_image={width}"
            ]
        )


def distilled_split(
    train: Split, captions: TeacherCaptions, vocab: Vocab, best: int, references: int, where: str
) -> Split:
    """Return a training split with the `best` teacher captions of each image, then its first `references` references.

    Raises: DataError when no image has a caption, or for invalid captions; `where` is the name of their file.
    """
    a = captions.arrays
    image_idxs = np.repeat(a["images"], a["counts"])
    kept = _rank(a["counts"]) < best
    if not kept.any():
        raise DataError(f"{where}: expected teacher captions with words, got empty ones alone; use another teacher")
    encoded = _encode(a["words"], a["lengths"], kept, vocab)
    rows = [row for image in a["images"].tolist() for row in train.caption_rows(image)[:references]]
    idxs = image_idxs[kept]
    if rows:
        width = max(encoded.shape[1], train.captions.shape[1])
        encoded = np.concatenate([_padded(some, width, vocab.null) for some in (encoded, train.captions[rows])])
        idxs = np.concatenate([idxs, train.image_idxs[rows]]).astype(np.int32)
    split = dataclasses.replace(train, captions=encoded, image_idxs=idxs, texts=None)
    check_captions(split.captions, vocab, where)
    check_image_idxs(split, where)
    return split


def _rank(counts: Array) -> Array:
    """Return the rank of each caption among those of its image.

    Shapes: (n,) -> (C,).
    """
    return np.asarray(np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts))


def _padded(captions: Array, width: int, null: int) -> Array:
    """Pad captions to a width.

    Shapes: (N, T) -> (N, width).
    """
    return np.pad(captions, ((0, 0), (0, width - captions.shape[1])), constant_values=null)


def _encode(words: Array, lengths: Array, kept: Array, vocab: Vocab) -> Array:
    """Encode the kept captions as `<START> w1 .. wn <END> <NULL> ...`.

    Shapes: words (W,), lengths and kept (C,) -> (K, T) int32.
    """
    words, lengths = words[np.repeat(kept, lengths)], lengths[kept]
    rows = np.full((len(lengths), 2 + int(lengths.max())), vocab.null, np.int32)
    column = np.arange(rows.shape[1])
    rows[:, 0] = vocab.start
    rows[(column >= 1) & (column <= lengths[:, None])] = words
    rows[column == lengths[:, None] + 1] = vocab.end
    return rows
