"""A minimal gated unit (Zhou et al. 2016), as an example of a new cell."""

import dataclasses

import numpy as np
import pytest
from minimal_gated_unit import MGU

from captioner.config.options import Config, Model
from captioner.gradcheck.cases import check_gradients
from captioner.layers import CELLS
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes, initial_params

Array = np.ndarray


def test_a_new_cell_needs_one_row_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model trains, decodes and passes the gradient check with it."""
    monkeypatch.setitem(CELLS, "mgu", MGU)
    monkeypatch.setattr("captioner.gradcheck.cases.LAYERS", {})
    monkeypatch.setattr("captioner.gradcheck.cases.VARIANTS", {})
    config = dataclasses.replace(
        Config(), model=Model(cell="mgu", wordvec_dim=3, hidden_dim=4, dropout_embedding=0.3, dropout_hidden=0.3)
    )  # type: ignore[arg-type]
    rows = [row for row in check_gradients(config, full=True) if row.case == "model (mgu)"]
    assert len(rows) == 8
    assert all(row.passed for row in rows), rows

    sizes = Sizes(vocab=7, feature=4, wordvec=3, hidden=5, cell="mgu")
    rng = np.random.default_rng(0)
    model = CaptioningRNN(sizes, initial_params(sizes, rng.standard_normal, np.float64))
    features, captions = rng.standard_normal((2, 4)), np.array([[1, 4, 5, 2], [1, 6, 2, 0]])
    state, total = model.start(features), 0.0
    for t in range(3):
        log_probs, state = model.step(captions[:, t], state)
        target = captions[:, t + 1]
        total -= log_probs[np.arange(2), target][target != 0].sum()
    assert model.loss(features, captions)[0] == pytest.approx(total / 2, abs=1e-12)
