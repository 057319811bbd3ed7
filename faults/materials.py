"""Small valid files to damage: runs, checkpoints and prepared data sets."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from captioner.config.yaml_io import parse
from captioner.data.corpus import Corpus
from captioner.data.prepared import write_prepared
from captioner.inference.restore import Restored
from captioner.model.image_input import standardizer_arrays
from captioner.preparation.load_corpus import build_corpus
from captioner.storage.checkpoint import Checkpoint
from captioner.training.train import train
from faults.session import SMALL


def make_run(folder: Path, *overrides: str) -> Path:
    """Train a small run, which contains the checkpoint `last.h5`."""
    for _ in train(parse("", "", [*SMALL, "train.max_steps=3", *overrides]), folder):
        pass
    return folder


def make_prepared(path: Path, seed: int = 0) -> Path:
    """Write a prepared data set of generated images."""
    write_prepared(path, build_corpus(parse("", "", [*SMALL, f"data.scenes.seed={seed}"])), {"sources": []})
    return path


def checkpoint_digest(restored: Restored) -> str:
    """Return a digest of the whole content of a checkpoint."""
    standardizers = standardizer_arrays(restored.model.standardizer, restored.model.region_standardizer)
    groups = Checkpoint(restored.meta, restored.model.params, restored.slots, standardizers)
    return _digest(asdict(restored.meta), groups.groups())


def corpus_digest(corpus: Corpus) -> str:
    """Return a digest of the whole content of a data set."""
    splits: dict[str, dict[str, Any]] = {
        name: {"captions": s.captions, "image_idxs": s.image_idxs, "features": np.asarray(s.features[:])}
        for name, s in corpus.splits.items()
    }
    texts = {name: [*s.image_ids, "|", *(s.texts or ())] for name, s in corpus.splits.items()}
    return _digest([corpus.encoder, corpus.vocab.words, texts], splits)


def _digest(texts: object, groups: dict[str, dict[str, Any]]) -> str:
    digest = hashlib.sha256(repr(texts).encode(errors="surrogateescape"))
    for group in sorted(groups):
        for name in sorted(groups[group]):
            array = groups[group][name]
            digest.update(f"\n{group} {name} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
