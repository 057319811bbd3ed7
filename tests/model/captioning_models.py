"""Small models with parameters of order 1, and captions with every edge case."""

import numpy as np
import pytest

from captioner.layers import CELLS
from captioner.layers.dropout import NO_DROPOUT, Dropout
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.image_input import Standardizer
from captioner.model.parameters import Sizes

Array = np.ndarray
every_cell = pytest.mark.parametrize("cell", CELLS)
V, F, D, H = 7, 4, 3, 5


def sizes(cell: str) -> Sizes:
    return Sizes(vocab=V, feature=F, wordvec=D, hidden=H, cell=cell)


def model(
    cell: str = "lstm",
    dtype: type = np.float64,
    dropout: Dropout = NO_DROPOUT,
    standardizer: Standardizer | None = None,
    null: int = 0,
) -> CaptioningRNN:
    """A model with parameters of order 1, so that each affects the loss."""
    rng = np.random.default_rng(5)
    params = {name: 0.7 * rng.standard_normal(shape) for name, shape in sizes(cell).shapes().items()}
    params = {name: w.astype(dtype) for name, w in params.items()}
    return CaptioningRNN(sizes(cell), params, null, dropout, standardizer)


def features(count: int) -> Array:
    return np.random.default_rng(6).standard_normal((count, F))


CAPTIONS = {
    "usual": [[1, 4, 5, 2, 0, 0], [1, 6, 2, 0, 0, 0], [1, 4, 4, 4, 3, 2]],
    "one caption": [[1, 4, 5, 2]],
    "one word": [[1, 2], [4, 5], [1, 6]],
    "equal lengths": [[1, 4, 2], [1, 5, 2], [1, 4, 2]],
    "null inside": [[1, 0, 5, 2], [0, 4, 0, 0], [0, 0, 0, 3], [5, 0, 0, 2]],
    "toy": [[0, 1, 2, 0], [1, 2, 0, 1], [2, 0, 1, 2]],
    "one without words": [[1, 4, 5, 2], [1, 0, 0, 0], [3, 0, 0, 0]],
}
every_caption = pytest.mark.parametrize("captions", [np.array(c) for c in CAPTIONS.values()], ids=CAPTIONS)
