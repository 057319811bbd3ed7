"""Load the data set that a config describes."""

from __future__ import annotations

import dataclasses

import numpy as np

from captioner.config.options import Config
from captioner.data import SOURCES
from captioner.data.corpus import Corpus


def build_corpus(config: Config) -> Corpus:
    """Load, or generate, the configured data set.

    Raises: DataError when it cannot be used.
    """
    source = config.data.source
    section = getattr(config.data, source, None)
    options = dataclasses.asdict(section) if section else {}
    corpus = SOURCES[source](config.data.root, memory_mib=config.data.memory_mib, **options)
    if config.data.max_train is None:
        return corpus
    train = corpus.split("train")
    few = np.random.default_rng((config.seed, 2)).permutation(len(train.captions))[: config.data.max_train]
    few.sort()
    texts = None if train.texts is None else [train.texts[row] for row in few.tolist()]
    cut = dataclasses.replace(train, captions=train.captions[few], image_idxs=train.image_idxs[few], texts=texts)
    return dataclasses.replace(corpus, splits={**corpus.splits, "train": cut})
