"""Load the data set that a config describes, or that a path names, as a `Corpus`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from captioner.config.options import Config, Data, Source
from captioner.data.corpus import Corpus, with_vocabulary
from captioner.data.cs231n import CAPTIONS, VOCAB, cs231n
from captioner.data.encoder_identity import parse_identity
from captioner.data.prepared import prepared
from captioner.data.scenes import scenes
from captioner.data.vocabulary import VOCABULARIES, Vocab
from captioner.errors import DataError, UsageError
from captioner.files.saved import DATA_SET
from captioner.model.parameters import ATTENTIONS

SOURCES: dict[str, Callable[..., Corpus]] = {"scenes": scenes, "cs231n": cs231n, "prepared": prepared}
"""Sources by config name, each a function (root, memory_mib, regions, **options of its config section) -> Corpus."""


def build_corpus(config: Config, vocab: Vocab | None = None, regions: bool = False) -> Corpus:
    """Load or generate the configured data set, with its regions if the model attends to them or `regions` is set.

    With `train.init_from`, `vocab` is the vocabulary of the base model or that of the fine-tuned model, which give the
    same result: `data.vocabulary` combines it with that of the data set, and the captions are encoded with the result.

    Raises: DataError for an invalid data set, an unknown encoder, or missing regions that attention needs.
    """
    options = config.data
    section = getattr(options, options.source, None)
    arguments = dataclasses.asdict(section) if section else {}
    attends = bool(ATTENTIONS[config.model.attention])
    regions = regions or attends
    corpus = SOURCES[options.source](options.root, memory_mib=options.memory_mib, regions=regions, **arguments)
    if options.source == "prepared" and not (corpus.encoder.startswith("features:") or parse_identity(corpus.encoder)):
        raise DataError(f"{options.root}: unknown encoder {corpus.encoder}; prepare the data set again")
    if attends and not corpus.region_dim:
        raise DataError(
            f"{options.root}: model.attention {config.model.attention}: expected image regions, got none; prepare the "
            "data set again with --regions (cs231n: add train2014_regions.h5 and val2014_regions.h5), or use a model "
            "without attention"
        )
    if vocab is not None and config.train.init_from is not None:
        corpus = with_vocabulary(corpus, VOCABULARIES[options.vocabulary](vocab, corpus.vocab))
    if options.max_captions_per_image is None and options.max_train is None:
        return corpus
    train = corpus.split("train")
    if options.max_captions_per_image is not None:
        count = options.max_captions_per_image  # the first of each image, in file order
        first = [row for image in train.captioned_images.tolist() for row in train.caption_rows(image)[:count]]
        train = train.select_captions(np.sort(first))
    if options.max_train is not None:
        rows = np.random.default_rng((config.seed, 2)).permutation(len(train.captions))[: options.max_train]
        train = train.select_captions(np.sort(rows))
    return dataclasses.replace(corpus, splits={**corpus.splits, "train": train})


def build_corpus_at(path: Path, config: Config, regions: bool = False) -> Corpus:
    """Load the whole data set at a path; `config` has the options of its source, and the memory limit.

    Raises: UsageError when the path is no data set, DataError for an invalid one.
    """
    # the reader reports a missing file
    kind = source_kind(os.fspath(path)) or (None if path.exists() else "prepared")
    if kind is None:
        raise UsageError(
            f"{path}: expected a file written by `captioner prepare`, a folder of CS231n's assignment 3, or scenes; "
            "to use caption files, prepare a data set from them"
        )
    root = None if kind == "scenes" else path
    options = config.data
    data = Data(kind, root, memory_mib=options.memory_mib, scenes=options.scenes, cs231n=options.cs231n)
    return build_corpus(dataclasses.replace(config, data=data), regions=regions)


def source_kind(source: str) -> Source | None:
    """Return the source type of an existing data set, or None for caption files and missing paths."""
    if source == "scenes":
        return "scenes"
    if os.path.isdir(source):  # of CS231n, or of photographs
        return "cs231n" if any(os.path.exists(os.path.join(source, name)) for name in (CAPTIONS, VOCAB)) else None
    return "prepared" if DATA_SET.matches(source) else None
