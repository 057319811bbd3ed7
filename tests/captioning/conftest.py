"""Models, splits and photographs to caption."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from captioner.captioning.load import open_corpus, open_run
from captioner.captioning.saved_model import SavedModel
from captioner.data.corpus import Split
from captioner.model.captioning_rnn import CaptioningRNN


@pytest.fixture(scope="module")
def varied_model(tiny_run: Path) -> SavedModel:
    """The tiny run with large random parameters, so that captions differ after little training."""
    tiny, rng = open_run(tiny_run), np.random.default_rng(0)
    params = {name: rng.standard_normal(w.shape) for name, w in sorted(tiny.model.params.items())}
    params["b_vocab"][tiny.vocab.end] += 3
    return dataclasses.replace(tiny, model=CaptioningRNN(tiny.model.sizes, params, tiny.vocab.null))


@pytest.fixture(scope="module")
def val_split(varied_model: SavedModel) -> Split:
    """The validation split of its data set."""
    return open_corpus(varied_model).split("val")
