"""Fixtures for tests of consensus re-ranking: a run that uses it, its data set and its index."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from captioner.captioning import reranker_index
from captioner.captioning.load import open_corpus, open_run
from captioner.captioning.reranker_index import Index, build_index
from captioner.captioning.restore import Restored
from captioner.config.overrides import read_overrides
from captioner.data.corpus import Corpus
from captioner.decode.consensus import Kernel, inverse_kernel
from captioner.model.captioning_rnn import CaptioningRNN

__all__ = ["corpus", "index", "inversions", "reranked_run"]


@pytest.fixture
def inversions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of every kernel that is inverted."""
    counts: list[int] = []

    def invert(directions: np.ndarray, kernel: Kernel) -> np.ndarray:
        counts.append(len(directions))
        return inverse_kernel(directions, kernel)

    monkeypatch.setattr(reranker_index, "inverse_kernel", invert)
    return counts


OPTIONS = ("decode.beam_width=6", "decode.consensus=300")


@pytest.fixture
def reranked_run(own_run: Path) -> Restored:
    """A run with large random parameters, so that captions differ, and with re-ranking in its options."""
    tiny, rng = open_run(own_run, read_overrides(OPTIONS)), np.random.default_rng(0)
    params = {name: rng.standard_normal(w.shape) for name, w in tiny.model.params.items()}
    params["b_vocab"][tiny.vocab.end] += 3
    return dataclasses.replace(tiny, model=CaptioningRNN(tiny.model.sizes, params, tiny.vocab.null))


@pytest.fixture
def corpus(reranked_run: Restored) -> Corpus:
    return open_corpus(reranked_run)


@pytest.fixture
def index(corpus: Corpus) -> Index:
    return build_index(corpus)
