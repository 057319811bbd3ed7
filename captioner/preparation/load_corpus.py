"""Load the data set that a config describes, or that a path names."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Literal

import numpy as np

from captioner.config.options import Config, Data, Model
from captioner.data import SOURCES
from captioner.data.corpus import Corpus
from captioner.data.cs231n import CAPTIONS, VOCAB
from captioner.data.prepared import SEAL
from captioner.errors import DataError, UsageError


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


def build_corpus_at(path: Path, config: Config) -> Corpus:
    """Load the whole data set at a path; `config` has the options of its source, and the memory limit.

    Raises: UsageError when the path is no data set, DataError for an invalid one.
    """
    kind = source_kind(os.fspath(path)) or (None if os.path.exists(path) else "prepared")
    if kind is None:
        raise UsageError(
            f"{path}: expected a file written by `captioner prepare`, a folder of CS231n's assignment 3, or scenes; "
            "to use caption files, prepare a data set from them"
        )
    root = None if kind == "scenes" else path
    options = config.data
    data = Data(kind, root, memory_mib=options.memory_mib, scenes=options.scenes, cs231n=options.cs231n)
    return build_corpus(dataclasses.replace(config, data=data))


def source_kind(source: str) -> Literal["scenes", "cs231n", "prepared"] | None:
    """Return the source type of an existing data set, or None for caption files and missing paths."""
    if source == "scenes":
        return "scenes"
    if os.path.isdir(source):  # of CS231n, or of photographs
        return "cs231n" if any(os.path.exists(os.path.join(source, name)) for name in (CAPTIONS, VOCAB)) else None
    return "prepared" if SEAL.matches(source) else None
