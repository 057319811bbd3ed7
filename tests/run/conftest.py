"""Photographs to prepare a data set from, and how many were encoded."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from preparing import COUNT, Counted

from captioner.data.corpus import Corpus
from captioner.decode.consensus import kernel_inverse
from captioner.images.scenes import ScenesEncoder
from captioner.model import CaptioningRNN
from captioner.run import reranker
from captioner.run.reranker import Index, build_index
from captioner.run.restore import Restored
from captioner.run.sample import open_corpus, open_run


@pytest.fixture(scope="module")
def painted(album: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return album(tmp_path_factory.mktemp("painted"), COUNT).parent


@pytest.fixture
def photos(painted: Path, tmp_path: Path) -> Path:
    """A folder of photographs and captions.csv, to be changed."""
    return Path(shutil.copytree(painted, tmp_path / "photos"))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted, original = Counted(), ScenesEncoder.encode

    def encode(self: ScenesEncoder, batch: np.ndarray) -> np.ndarray:
        counted.number += len(batch)
        return original(self, batch)

    monkeypatch.setattr(ScenesEncoder, "encode", encode)
    return counted


@pytest.fixture
def inversions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of every kernel that is inverted from now on."""
    counts: list[int] = []

    def invert(directions: np.ndarray) -> np.ndarray:
        counts.append(len(directions))
        return kernel_inverse(directions)

    monkeypatch.setattr(reranker, "kernel_inverse", invert)
    return counts


ASKED = ("decode.beam=6", "decode.consensus=300")


@pytest.fixture
def heeding(own_run: Path) -> Restored:
    """A run of its own with large random parameters, whose captions differ, and which asks for re-ranking."""
    tiny, rng = open_run(own_run, ASKED), np.random.default_rng(0)
    params = {name: rng.standard_normal(w.shape) for name, w in tiny.model.params.items()}
    params["b_vocab"][tiny.vocab.end] += 3
    return dataclasses.replace(tiny, model=CaptioningRNN(tiny.model.sizes, params, tiny.vocab.null))


@pytest.fixture
def corpus(heeding: Restored) -> Corpus:
    return open_corpus(heeding)


@pytest.fixture
def index(corpus: Corpus) -> Index:
    return build_index(corpus)
