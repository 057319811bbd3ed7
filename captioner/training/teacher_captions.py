"""Teacher captions: the candidates of one or several teachers for each training image, their file, and the training
split made of them, which replaces the references in distillation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from captioner.arrays import Array
from captioner.config.options import Config
from captioner.data.corpus import Corpus, Split, check_captions, check_image_idxs
from captioner.data.vocabulary import Vocab
from captioner.errors import CheckpointError, ConfigError, DataError
from captioner.inference.captioner import Candidates, Captioner
from captioner.inference.reranker_index import Origin, index_rows, origin_of
from captioner.inference.restore import is_training_split
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.storage.sealed import Seal
from captioner.storage.sealed_arrays import read, write

TEACHER_SEAL = Seal(
    "teacher caption set",
    version=1,
    writer="`captioner distill`",
    max_bytes=8 << 30,
    error=CheckpointError,
    remedy="`captioner distill --overwrite` writes it again",
    dtype_kinds="fi",
)
TYPES = {"images": "int32", "counts": "int32", "lengths": "int32", "words": "int32", "log_probs": "float32"}
TEACHERS = "teachers"
"""The key of the teachers' identities in `Corpus.about`."""


@dataclass(frozen=True)
class Provenance:
    """What determines the captions: the teachers' checkpoints, the decoding options, and the data set.

    `teachers` are names for readers; `checkpoints` are the SHA-256 digests of the checkpoints' contents.
    """

    teachers: list[str] = field(compare=False)
    checkpoints: list[str]
    decode: dict[str, Any]
    data: Origin


@dataclass(frozen=True)
class TeacherCaptions:
    """The distinct candidates, best first, of the training images captioned so far; `total` images are to be captioned.

    Shapes of the arrays: `images` (n,) rows of the training split, ascending; `counts` (n,) captions of each image;
    `lengths` (C,) words of each caption; `words` (W,) ids of all captions, without `<START>` and `<END>`; `log_probs`
    (C,) float32, the teacher's log-probabilities. The others are int32.
    """

    provenance: Provenance
    total: int
    arrays: dict[str, Array]

    @property
    def done(self) -> int:
        """The number of images with captions."""
        return len(self.arrays["images"])

    @classmethod
    def empty(cls, provenance: Provenance, train: Split) -> TeacherCaptions:
        arrays: dict[str, Array] = {name: np.empty(0, dtype) for name, dtype in TYPES.items()}
        return cls(provenance, len(train.captioned_images), arrays)

    def extended(self, parts: Sequence[dict[str, Array]]) -> TeacherCaptions:
        """Return these captions followed by those of more images."""
        arrays = {name: np.concatenate([part[name] for part in (self.arrays, *parts)]) for name in TYPES}
        return dataclasses.replace(self, arrays=arrays)


def generate(
    captioner: Captioner, corpus: Corpus, done: int = 0, ranks: Ranks = SINGLE_PROCESS
) -> Iterator[dict[str, Array]]:
    """Caption the training images after the first `done`, a batch at a time, and yield the arrays of each batch.

    Several ranks caption a batch each, and all yield the batches of all.

    Leave-one-out: the captions of an image take no part in its own consensus re-ranking.

    Raises: as `Captioner.decode`.
    """
    train = corpus.split("train")
    # Of a model with another training split, the re-ranker recognizes its images by their features.
    own_rows = index_rows(train) if captioner.reranker and is_training_split(captioner.loaded, corpus) else None
    images = train.captioned_images[done:]
    size = captioner.batch_size(captioner.loaded.config.decode.beam_width)
    for first in range(ranks.rank * size, len(images) + ranks.rank * size, ranks.size * size):
        rows = images[first : first + size]
        batches = captioner.search(train.features, rows, regions=train.regions, index_rows=own_rows)
        for parts in ranks.all_gather([_distinct(batch, captioner.loaded.vocab) for batch in batches]):
            yield from parts


def _distinct(batch: Candidates, vocab: Vocab) -> dict[str, Array]:
    """Return the distinct captions of each image that have at least one word, best first."""
    counts: list[int] = []
    captions: list[tuple[int, ...]] = []
    log_probs: list[float] = []
    for candidates, scores in zip(batch.tokens.tolist(), batch.log_probs.tolist(), strict=True):
        unique: dict[tuple[int, ...], float] = {}
        for ids, score in zip(candidates, scores, strict=True):
            words = tuple(word for word in ids if word not in (vocab.null, vocab.end))
            if words and score > -np.inf:
                unique.setdefault(words, score)
        counts.append(len(unique))
        captions += unique
        log_probs += unique.values()
    columns: dict[str, Any] = {
        "images": batch.rows,
        "counts": counts,
        "lengths": list(map(len, captions)),
        "words": [word for words in captions for word in words],
        "log_probs": log_probs,
    }
    return {name: np.array(columns[name], dtype) for name, dtype in TYPES.items()}


def save(path: Path, captions: TeacherCaptions, check: Callable[[], None] = lambda: None) -> None:
    """Write the captions atomically; `check` is called as in `atomic.replacing`.

    Raises: CheckpointError when the file cannot be written; the previous file is kept.
    """
    arrays = {name: captions.arrays[name] for name in TYPES}  # in one order, so that a copy has the same bytes
    write(TEACHER_SEAL, path, arrays, {**asdict(captions.provenance), "total": captions.total}, check)


def load(path: Path) -> TeacherCaptions:
    """Read teacher captions.

    Raises: CheckpointError when the file is damaged or contains something else.
    """
    return read(TEACHER_SEAL, path, _parse)


def _parse(arrays: dict[str, Array], meta: str) -> TeacherCaptions:
    """Raises: ValueError for arrays or metadata that do not fit together."""
    values = json.loads(meta)
    total = values.pop("total")
    provenance = Provenance(**{**values, "data": Origin(**values["data"])})
    texts = [*provenance.teachers, *provenance.checkpoints, *asdict(provenance.data).values()]
    if not all(isinstance(text, str) and text.isprintable() for text in texts) or not provenance.teachers:
        raise ValueError("meta: expected printable texts")
    if len(provenance.teachers) != len(provenance.checkpoints):
        raise ValueError("meta: expected one checkpoint of each teacher")
    if type(total) is not int or type(provenance.decode["beam_width"]) is not int:
        raise ValueError("meta: expected integers for total and beam_width")
    types = {name: f"{array.dtype} {array.ndim}" for name, array in arrays.items()}
    if types != {name: f"{dtype} 1" for name, dtype in TYPES.items()}:
        raise ValueError(f"expected the arrays {', '.join(TYPES)} with one axis, got {', '.join(arrays)}")
    if min(arrays[name].min(initial=0) for name in ("counts", "lengths", "words")) < 0:
        raise ValueError("expected no negative numbers")
    captions, words = (int(arrays[name].sum()) for name in ("counts", "lengths"))
    sizes = {"counts": len(arrays["images"]), "lengths": captions, "log_probs": captions, "words": words}
    if other := [name for name, size in sizes.items() if len(arrays[name]) != size]:
        raise ValueError(f"{other[0]}: expected {sizes[other[0]]} numbers, got {len(arrays[other[0]])}")
    return TeacherCaptions(provenance, total, arrays)


def check_data(path: Path, captions: TeacherCaptions, corpus: Corpus) -> None:
    """Check that captions are complete and of the training images of a data set.

    Raises: CheckpointError when they are not.
    """
    expected, got = origin_of(corpus), captions.provenance.data
    if (expected.vocabulary, expected.train) != (got.vocabulary, got.train):
        what = "training split" if expected.vocabulary == got.vocabulary else "vocabulary"
        raise CheckpointError(
            f"{path}: expected captions for the {what} of the data set, got those for another; "
            "use the data set and the data options that they were generated with, or generate captions again"
        )
    check_images(path, captions, corpus.split("train"))
    if captions.done < captions.total:
        raise CheckpointError(
            f"{path}: expected the captions of all {captions.total:,} training images, got {captions.done:,}; "
            "repeat the interrupted `captioner distill` command first"
        )


def check_images(path: Path, captions: TeacherCaptions, train: Split) -> None:
    """Check that captions belong to the first images of a training split.

    Raises: CheckpointError when they do not.
    """
    images = train.captioned_images
    if captions.total != len(images) or not np.array_equal(captions.arrays["images"], images[: captions.done]):
        raise CheckpointError(
            f"{path}: expected captions of the first of {len(images):,} training images, got those of other rows; "
            "generate captions again"
        )


def build_training_corpus(config: Config, corpus: Corpus, path: Path) -> Corpus:
    """Return a data set with the training captions of the configured objective.

    `path` is the file of teacher captions, which only distillation needs.

    Raises: CheckpointError for captions that are missing, damaged, or of another data set; ConfigError for more
    captions than the teacher's beam has; DataError when no image has a caption.
    """
    if config.train.objective != "distillation":
        return corpus
    captions, options = load(path), config.distill
    provenance = captions.provenance
    check_data(path, captions, corpus)
    check_beam(config, provenance)
    best, references = options.captions_per_image, options.references
    train = distilled_split(corpus.split("train"), captions, corpus.vocab, best, references, str(path))
    pairs = zip(provenance.teachers, provenance.checkpoints, strict=True)
    teachers = [{"name": name, "checkpoint": digest, "decode": provenance.decode} for name, digest in pairs]
    splits, about = {**corpus.splits, "train": train}, {**corpus.about, TEACHERS: teachers}
    return dataclasses.replace(corpus, splits=splits, about=about)


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
    counts = a["counts"]
    ranks = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)  # among the captions of its image
    kept = ranks < best
    if not kept.any():
        raise DataError(f"{where}: expected teacher captions with words, got empty ones alone; use another teacher")
    encoded = _encode(a["words"], a["lengths"], kept, vocab)
    rows = [row for image in a["images"].tolist() for row in train.caption_rows(image)[:references]]
    image_idxs = np.repeat(a["images"], counts)[kept]
    if rows:
        width = max(encoded.shape[1], train.captions.shape[1])
        padded = [
            np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=vocab.null)
            for part in (encoded, train.captions[rows])
        ]
        encoded = np.concatenate(padded)
        image_idxs = np.concatenate([image_idxs, train.image_idxs[rows]]).astype(np.int32)
    split = dataclasses.replace(train, captions=encoded, image_idxs=image_idxs, texts=None)
    check_captions(split.captions, vocab, where)
    check_image_idxs(split, where)
    return split


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
