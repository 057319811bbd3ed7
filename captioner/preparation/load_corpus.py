"""Load the data set that a config describes."""

from __future__ import annotations

import dataclasses

import numpy as np

from captioner.config.options import Config, Model
from captioner.data import SOURCES
from captioner.data.corpus import Corpus
from captioner.errors import DataError


def build_corpus(config: Config) -> Corpus:
    """Load or generate the configured data set, with regions if the configured model attends to them.

    Raises: DataError for an invalid data set, or one without the regions that attention needs.
    """
    source = config.data.source
    section = getattr(config.data, source, None)
    options = dataclasses.asdict(section) if section else {}
    attends = config.model.attention != Model().attention
    corpus = SOURCES[source](config.data.root, memory_mib=config.data.memory_mib, regions=attends, **options)
    if attends and not corpus.region_dim:
        raise DataError(
            f"model.attention {config.model.attention}: expected image regions, but data.source {source} has none; "
            "try data.source scenes, or model.attention none"
        )
    if config.data.max_train is None:
        return corpus
    train = corpus.split("train")
    rows = np.random.default_rng((config.seed, 2)).permutation(len(train.captions))[: config.data.max_train]
    rows.sort()
    texts = None if train.texts is None else [train.texts[row] for row in rows.tolist()]
    cut = dataclasses.replace(train, captions=train.captions[rows], image_idxs=train.image_idxs[rows], texts=texts)
    return dataclasses.replace(corpus, splits={**corpus.splits, "train": cut})
