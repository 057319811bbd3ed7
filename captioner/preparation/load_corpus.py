"""Load the data set that a config describes."""

from __future__ import annotations

import dataclasses

import numpy as np

from captioner.arrays import Array
from captioner.config.options import Config
from captioner.data import SOURCES
from captioner.data.corpus import Corpus, Split


def build_corpus(config: Config) -> Corpus:
    """Load or generate the configured data set.

    Raises: DataError for an invalid data set.
    """
    options = config.data
    section = getattr(options, options.source, None)
    arguments = dataclasses.asdict(section) if section else {}
    corpus = SOURCES[options.source](options.root, memory_mib=options.memory_mib, **arguments)
    if options.captions_per_image is None and options.max_train is None:
        return corpus
    train = corpus.split("train")
    if options.captions_per_image is not None:
        train = _select(train, _first_of_each_image(train, options.captions_per_image))
    if options.max_train is not None:
        rows = np.random.default_rng((config.seed, 2)).permutation(len(train.captions))[: options.max_train]
        train = _select(train, np.sort(rows))
    return dataclasses.replace(corpus, splits={**corpus.splits, "train": train})


def _first_of_each_image(split: Split, count: int) -> Array:
    """Return the rows of the first `count` captions of each image, in file order."""
    rows = [row for image in split.captioned_images.tolist() for row in split.caption_rows(image)[:count]]
    return np.sort(np.array(rows, int))


def _select(split: Split, rows: Array) -> Split:
    """Return a split with some of its captions and all of its images."""
    texts = None if split.texts is None else [split.texts[row] for row in rows.tolist()]
    return dataclasses.replace(split, captions=split.captions[rows], image_idxs=split.image_idxs[rows], texts=texts)
