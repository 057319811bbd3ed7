"""Image inputs, label smoothing and weights against a loss computed word by word."""

import math
from itertools import pairwise

import numpy as np
import pytest
from cells import cell_by_hand

from captioner.layers import CELLS
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes
from captioner.parallel.thread_pool import ThreadPool

Array = np.ndarray
V, F, H = 7, 4, 5
CAPTIONS = np.array([[1, 4, 5, 2, 0], [1, 6, 2, 0, 0], [1, 4, 4, 3, 2], [1, 0, 0, 0, 0], [1, 5, 0, 2, 0]])
IMAGES = np.random.default_rng(6).standard_normal((len(CAPTIONS), F))
every_cell = pytest.mark.parametrize("cell", CELLS)
every_image = pytest.mark.parametrize("image", ["init", "first", "every"])


def model(cell: str = "lstm", image: str = "init", smoothing: float = 0.0) -> CaptioningRNN:
    sizes = Sizes(vocab=V, feature=F, wordvec=3, hidden=H, cell=cell, image=image)
    rng = np.random.default_rng(5)
    params = {name: 0.7 * rng.standard_normal(shape) for name, shape in sizes.shapes().items()}
    return CaptioningRNN(sizes, params, smoothing=smoothing)


def by_hand(m: CaptioningRNN, smoothing: float = 0.0) -> list[float]:
    """The loss of every caption, one word at a time, with x_t concatenated as in the equations."""
    p, losses = m.params, []
    W_vocab = p["W_vocab"]
    for image, caption in zip(IMAGES, CAPTIONS.tolist(), strict=True):
        h, c = image @ p["W_proj"] + p["b_proj"], np.zeros(H)
        vector = image @ p["W_image"] + p["b_image"] if m.sizes.image != "init" else np.zeros(0)
        if m.sizes.image == "first":
            h, c = cell_by_hand(m.sizes.cell, p, vector, h, c)
        extra = vector if m.sizes.image == "every" else np.zeros(0)
        loss = 0.0
        for word, target in pairwise(caption):
            h, c = cell_by_hand(m.sizes.cell, p, np.concatenate([p["W_embed"][word], extra]), h, c)
            scores = h @ W_vocab + p["b_vocab"]
            log_probs = scores - math.log(math.fsum(np.exp(scores)))
            if target:
                loss -= (1 - smoothing) * log_probs[target] + smoothing * log_probs.mean()
        losses.append(float(loss))
    return losses


@every_cell
@every_image
@pytest.mark.parametrize("threads", [1, 2])
def test_the_loss_matches_the_reference(cell: str, image: str, threads: int) -> None:
    m = model(cell, image)
    loss, grads = m.loss(IMAGES, CAPTIONS, pool=ThreadPool(threads))
    assert loss == pytest.approx(math.fsum(by_hand(m)) / len(CAPTIONS), abs=1e-12)
    assert {name: grad.shape for name, grad in grads.items()} == m.sizes.shapes()
    alone = m.loss(IMAGES, CAPTIONS)[1]
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, alone[name], atol=1e-13)


@every_cell
@every_image
def test_inference_steps_match_the_loss(cell: str, image: str) -> None:
    m = model(cell, image)
    state, total, inference = m.start(IMAGES), 0.0, m.for_inference()
    assert {len(rows) for rows in state} == {len(IMAGES)}
    for t in range(CAPTIONS.shape[1] - 1):
        log_probs, state = inference.step(CAPTIONS[:, t], state)
        total -= sum(log_probs[n, word] for n, word in enumerate(CAPTIONS[:, t + 1]) if word)
    assert total / len(CAPTIONS) == pytest.approx(m.loss(IMAGES, CAPTIONS)[0], abs=1e-12)


def test_rows_of_the_state_may_be_reordered() -> None:
    """As in beam search: the context is a row of the state."""
    m, words = model(image="every"), np.array([4, 5, 6, 4, 5])
    order = np.array([3, 0, 0, 4])
    expected, _ = m.step(words[order], tuple(rows[order] for rows in m.start(IMAGES)))
    all_rows, _ = m.step(words, m.start(IMAGES))
    np.testing.assert_allclose(expected, all_rows[order], atol=1e-13)


@pytest.mark.parametrize("smoothing", [0.1, 0.9])
def test_label_smoothing_affects_the_training_loss_only(smoothing: float) -> None:
    m = model(smoothing=smoothing)
    assert m.loss(IMAGES, CAPTIONS)[0] == pytest.approx(math.fsum(by_hand(m, smoothing)) / len(CAPTIONS), abs=1e-12)
    assert m.word_losses(IMAGES, CAPTIONS).sum() == pytest.approx(math.fsum(by_hand(m)), abs=1e-12)
    losses, _ = m.forward(IMAGES, CAPTIONS)
    assert losses.words == np.count_nonzero(CAPTIONS[:, 1:])
    assert losses.trained * losses.words == pytest.approx(math.fsum(by_hand(m, smoothing)), abs=1e-12)
    assert losses.nll * losses.words == pytest.approx(math.fsum(by_hand(m)), abs=1e-12)


@every_cell
def test_caption_weights(cell: str) -> None:
    m, weights = model(cell), np.array([0.5, -2.0, 0.0, 3.0, 1.0])
    loss, grads = m.loss(IMAGES, CAPTIONS, weights=weights)
    assert loss == pytest.approx(math.fsum(weights * by_hand(m)) / len(CAPTIONS), abs=1e-12)
    alone = [m.loss(IMAGES[n : n + 1], CAPTIONS[n : n + 1])[1] for n in range(len(CAPTIONS))]
    for name, grad in grads.items():
        by_caption = sum(w * one[name] for w, one in zip(weights, alone, strict=True)) / len(CAPTIONS)
        np.testing.assert_allclose(grad, by_caption, atol=1e-13)


def test_with_params_keeps_all_options() -> None:
    m = model(image="every", smoothing=0.1)
    other = m.with_params({name: 2 * w for name, w in m.params.items()})
    assert (other.sizes, other.smoothing, other.dropout, other.null) == (m.sizes, m.smoothing, m.dropout, m.null)
    assert other.loss(IMAGES, CAPTIONS)[0] != m.loss(IMAGES, CAPTIONS)[0]
