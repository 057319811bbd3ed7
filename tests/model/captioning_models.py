"""Small models with parameters of order 1, captions with every edge case, and the loss computed word by word."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import plain
import pytest

from captioner.arrays import SharedRows
from captioner.layers import CELLS
from captioner.model.build import parameter_shapes
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes

Array = np.ndarray
every_cell = pytest.mark.parametrize("cell", CELLS)
every_image = pytest.mark.parametrize("image", ["init", "first", "every"])
every_attention = pytest.mark.parametrize("attention", ["none", "adaptive"])
V, F, D, H, R, A, L = 7, 4, 3, 5, 3, 6, 4

CAPTIONS = np.array([[1, 4, 5, 2, 0], [1, 6, 2, 0, 0], [1, 4, 4, 3, 2], [1, 0, 0, 0, 0], [1, 5, 0, 2, 0]])
"""Captions of all lengths; one has no words, and one a `<NULL>` inside."""
IMAGE = np.array([2, 0, 2, 1, 0])
RNG = np.random.default_rng(6)
FEATURES = RNG.standard_normal((4, F))[IMAGE]
REGIONS = SharedRows(RNG.standard_normal((4, L, R)), IMAGE)

EDGE_CASES = {
    "usual": [[1, 4, 5, 2, 0, 0], [1, 6, 2, 0, 0, 0], [1, 4, 4, 4, 3, 2]],
    "one caption": [[1, 4, 5, 2]],
    "one word": [[1, 2], [4, 5], [1, 6]],
    "equal lengths": [[1, 4, 2], [1, 5, 2], [1, 4, 2]],
    "null inside": [[1, 0, 5, 2], [0, 4, 0, 0], [0, 0, 0, 3], [5, 0, 0, 2]],
    "toy": [[0, 1, 2, 0], [1, 2, 0, 1], [2, 0, 1, 2]],
    "one without words": [[1, 4, 5, 2], [1, 0, 0, 0], [3, 0, 0, 0]],
}
every_caption = pytest.mark.parametrize("captions", [np.array(c) for c in EDGE_CASES.values()], ids=EDGE_CASES)


def model(
    cell: str = "lstm", image: str = "init", attention: str = "none", dtype: type = np.float64, **options: Any
) -> CaptioningRNN:
    """A model with parameters of order 1, so that each affects the loss."""
    sizes = Sizes(V, F, D, H, cell, image, attention, R, A)
    rng = np.random.default_rng(5)
    params = {name: (0.7 * rng.standard_normal(s)).astype(dtype) for name, s in parameter_shapes(sizes).items()}
    return CaptioningRNN(sizes, params, **options)


def features(count: int) -> Array:
    return np.random.default_rng(6).standard_normal((count, F))


def by_hand(
    m: CaptioningRNN, images: Array = FEATURES, captions: Array = CAPTIONS, smoothing: float = 0.0
) -> tuple[list[list[float]], dict[tuple[int, int], Array]]:
    """The loss of every unmasked word of each caption, one at a time, and the attention weights of each word."""
    p, losses, weights = {name: w.astype(np.float64) for name, w in m.params.items()}, [], {}
    step, recurrent = getattr(plain, f"{m.sizes.decoder}_step_forward"), (p["Wx"], p["Wh"], p["b"])
    for n, caption in enumerate(captions.tolist()):
        state = [images[n] @ p["W_proj"] + p["b_proj"], np.zeros(H)][: CELLS[m.sizes.decoder].states]
        vector = np.zeros(0) if m.sizes.image == "init" else images[n] @ p["W_image"] + p["b_image"]
        if m.sizes.image == "first":
            *state, _ = step(vector, *state, *recurrent)
        extra = vector if m.sizes.image == "every" else np.zeros(0)
        losses.append([])
        for t, (word, target) in enumerate(pairwise(caption)):
            *state, _ = step(np.concatenate([p["W_embed"][word], extra]), *state, *recurrent)
            out = h = state[0]
            if m.attends:
                keys = np.maximum(0, REGIONS.values[IMAGE[n]] @ p["W_key"] + p["b_key"])
                slots = np.vstack([keys, np.tanh(h @ p["W_sentinel"] + p["b_sentinel"])])
                α = np.exp(slots @ (h @ p["W_query"]) / math.sqrt(A))
                weights[n, t] = α / α.sum()
                out = h + weights[n, t] @ slots @ p["W_context"]
            scores = out @ p["W_vocab"] + p["b_vocab"]
            log_probs = scores - scores.max() - math.log(math.fsum(np.exp(scores - scores.max())))
            if target != m.null:
                losses[-1].append(float(-(1 - smoothing) * log_probs[target] - smoothing * log_probs.mean()))
    return losses, weights


def mean_loss(losses: list[list[float]]) -> float:
    return math.fsum(map(math.fsum, losses)) / len(losses)


def assert_grads_equal(grads: dict[str, Array], expected: dict[str, Array], atol: float = 1e-13) -> None:
    assert grads.keys() == expected.keys()
    for name, grad in expected.items():
        np.testing.assert_allclose(grads[name], grad, atol=atol, rtol=1e-10, err_msg=name)
