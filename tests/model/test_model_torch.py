"""The whole model against PyTorch's autograd."""

import numpy as np
import pytest

from captioner.layers import CELLS
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes

torch = pytest.importorskip("torch")

V, F, D, H = 7, 4, 3, 5
CAPTIONS = {
    "usual": np.array([[1, 4, 5, 2, 0, 0], [1, 6, 2, 0, 0, 0], [1, 4, 4, 4, 3, 2]]),
    "null inside": np.array([[1, 0, 5, 2], [0, 4, 0, 0], [5, 0, 0, 2]]),
}


@pytest.mark.parametrize("captions", CAPTIONS.values(), ids=CAPTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_match_pytorch(cell: str, captions: np.ndarray) -> None:
    """The same parameters in torch's own recurrent layers.

    The gate order of its LSTM is i, f, g, o. The second bias of its layers is 0, as the GRU here has only the first.
    """
    sizes, rng = Sizes(V, F, D, H, cell), np.random.default_rng(5)
    m = CaptioningRNN(sizes, {name: 0.7 * rng.standard_normal(shape) for name, shape in sizes.shapes().items()})
    images = rng.standard_normal((3, F))
    loss, grads = m.loss(images, captions)

    p = {name: torch.tensor(w, requires_grad=True) for name, w in m.params.items()}
    gates = torch.arange(CELLS[cell].gates * H).reshape(-1, H)
    order = (gates[[0, 1, 3, 2]] if cell == "lstm" else gates).reshape(-1)
    layer = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](
        D, H, batch_first=True, dtype=torch.float64
    )
    weights = {
        "weight_ih_l0": p["Wx"].T[order],
        "weight_hh_l0": p["Wh"].T[order],
        "bias_ih_l0": p["b"][order],
        "bias_hh_l0": torch.zeros(len(order), dtype=torch.float64),
    }
    h0 = (torch.tensor(images) @ p["W_proj"] + p["b_proj"])[None]
    initial = (h0, torch.zeros_like(h0)) if cell == "lstm" else h0
    words = torch.tensor(captions)
    hidden, _ = torch.func.functional_call(layer, weights, (p["W_embed"][words[:, :-1]], initial))
    scores = hidden @ p["W_vocab"] + p["b_vocab"]
    total = torch.nn.functional.cross_entropy(
        scores.reshape(-1, V), words[:, 1:].reshape(-1), ignore_index=0, reduction="sum"
    )
    (total / len(captions)).backward()

    assert loss == pytest.approx(total.item() / len(captions), abs=1e-12)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, p[name].grad.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)
