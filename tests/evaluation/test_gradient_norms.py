"""Gradient norms through time equal numeric ones, and the command prints them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.data.batches import take
from captioner.data.corpus import Split
from captioner.errors import DataError
from captioner.evaluation.gradient_norms import gradient_norms
from captioner.gradcheck.numeric import numeric_gradient
from captioner.layers import CELLS
from captioner.model.build import parameter_shapes
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes

V, F, H = 7, 4, 5
CAPTIONS = np.array([[1, 4, 5, 6, 2], [1, 6, 2, 0, 0], [1, 4, 4, 3, 2]])
RNG = np.random.default_rng(3)
SPLIT = Split(
    CAPTIONS, np.array([0, 1, 1]), RNG.standard_normal((2, F)), ["a", "b"], regions=RNG.standard_normal((2, 2, 2, 2))
)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("image", ["init", "first", "every"])
@pytest.mark.parametrize("attention", ["none", "adaptive"])
def test_norms_equal_those_of_numeric_gradients(cell: str, image: str, attention: str) -> None:
    sizes = Sizes(V, F, 3, H, cell, image, attention, 2, 3)
    model = CaptioningRNN(
        sizes, {name: 0.7 * RNG.standard_normal(shape) for name, shape in parameter_shapes(sizes).items()}
    )
    reach = gradient_norms(model, SPLIT, 4)
    assert reach.captions == 2
    expected = np.zeros(4)
    for row in (0, 2):
        batch = take(SPLIT, np.array([row]))
        state = model.start(batch.features, batch.regions)
        for t in range(4):
            arrays = state[: model.cell.states]

            def loss(t: int = t, state: Any = state, row: int = row) -> float:
                now = state
                for word in CAPTIONS[row, t:4]:
                    log_probs, now = model.step(np.array([word]), now)
                return -float(log_probs[0, CAPTIONS[row, 4]])

            squares = sum((numeric_gradient(loss, array) ** 2).sum() for array in arrays)
            expected[t] += np.sqrt(squares) / 2
            _, state = model.step(CAPTIONS[row : row + 1, t], state)
    np.testing.assert_allclose(reach.norms, expected[::-1], rtol=1e-6)


def test_captions_that_are_too_short() -> None:
    sizes = Sizes(V, F, 3, H)
    model = CaptioningRNN(sizes, {name: np.zeros(shape) for name, shape in parameter_shapes(sizes).items()})
    with pytest.raises(DataError, match="expected a caption of at least 9 words, the longest has 4; try --word 4"):
        gradient_norms(model, SPLIT, 9)
    assert gradient_norms(model, SPLIT, 3).norms == [0.0, 0.0, 0.0]


def test_the_command(cli: Callable[..., Any], tiny_run: Path) -> None:
    done = cli("inspect", "gradients", tiny_run, "--word", 5)
    assert (done.code, done.err) == (0, "")
    title, *bars, factor = done.out.splitlines()
    assert title.startswith(f"{tiny_run}: lstm, loss of word 5, ")
    assert [line.split()[:3] for line in bars] == [
        [str(back), "step" if back == 1 else "steps", "back"] for back in range(5)
    ]
    assert max(line.count("#") for line in bars) == 36
    assert factor.strip().startswith("mean factor per step: ")
    norms = json.loads(cli("inspect", "gradients", tiny_run, "--word", 5, "--json").out)
    assert norms["decoder"] == "lstm"
    assert [f"{norm:.2e}" for norm in norms["norms"]] == [line.split()[3] for line in bars]
