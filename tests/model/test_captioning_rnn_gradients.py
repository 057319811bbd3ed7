"""The gradients of CaptioningRNN equal numeric gradients, and have the type of the parameters."""

from typing import Any

import numpy as np
import pytest
from captioning_models import CAPTIONS, F, every_caption, every_cell, features, model

from captioner.gradcheck.numeric import Case, check
from captioner.layers.dropout import Dropout
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.image_input import Standardizer

Array = np.ndarray


def failed_checks(m: CaptioningRNN, captions: Array, noise: int | None = None) -> list[Any]:
    images = features(len(captions))

    def run() -> tuple[float, dict[str, Array]]:
        return m.loss(images, captions, None if noise is None else np.random.default_rng(noise))

    case = Case("model", m.params, lambda: run()[0], lambda: run()[1])
    return [row for row in check(case, np.random.default_rng(0), full=True) if not row.passed]


@every_cell
@every_caption
def test_gradients_match_numeric_gradients(cell: str, captions: Array) -> None:
    assert failed_checks(model(cell), captions) == []


@every_cell
@pytest.mark.parametrize("captions", [CAPTIONS["usual"], CAPTIONS["null inside"]], ids=["usual", "null inside"])
@pytest.mark.parametrize(
    "dropout",
    [Dropout(features=0.5), Dropout(words=0.5), Dropout(hidden=0.5), Dropout(0.3, 0.3, 0.3)],
    ids=["features", "words", "hidden", "all"],
)
def test_gradients_with_dropout_match_numeric_gradients(cell: str, captions: list[list[int]], dropout: Dropout) -> None:
    standardizer = Standardizer(np.linspace(-1, 1, F), np.linspace(0.5, 2, F))
    assert failed_checks(model(cell, dropout=dropout, standardizer=standardizer), np.array(captions), noise=3) == []


@every_cell
@pytest.mark.parametrize("given_type", [np.float16, np.float32, np.float64, int])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_have_the_dtype_of_the_parameters(cell: str, given_type: type, dtype: type, dropout: float) -> None:
    standardizer = Standardizer(np.zeros(F), np.ones(F))
    m = model(cell, dtype, Dropout(dropout, dropout, dropout), standardizer)
    images, captions = (4 * features(4)).astype(given_type), np.array(CAPTIONS["null inside"], np.int32)
    loss, grads = m.loss(images, captions, np.random.default_rng(0))
    assert {grad.dtype for grad in grads.values()} == {np.dtype(dtype)} == {m.dtype}
    assert m.word_losses(images, captions).dtype == dtype
    assert {a.dtype for a in m.start(images)} == {np.dtype(dtype)}
    log_probs, state = m.step(captions[:, 0], m.start(images))
    assert {a.dtype for a in (log_probs, *state)} == {np.dtype(dtype)}
    exact = model(cell, np.float64, m.dropout, standardizer)
    assert loss == pytest.approx(exact.loss(images, captions, np.random.default_rng(0))[0], rel=1e-5)
