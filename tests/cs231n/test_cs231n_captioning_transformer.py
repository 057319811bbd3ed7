"""CaptioningTransformer of the assignment: against PyTorch, numeric gradients, sampling, and the solver."""

from typing import Any

import numpy as np
import pytest
from small_vocabulary import WORD_TO_IDX, WORDS

from captioner.cs231n.captioning_solver import CaptioningSolver
from captioner.cs231n.classifiers import transformer
from captioner.cs231n.classifiers.transformer import CaptioningTransformer
from captioner.cs231n.gradient_check import eval_numerical_gradient

Array = np.ndarray
V, F, E = len(WORDS), 6, 8
CAPTIONS = np.array([[1, 4, 5, 2, 0], [1, 6, 2, 0, 0], [1, 4, 4, 3, 2]])


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> CaptioningTransformer:
    """A model with parameters of order 1."""
    monkeypatch.setattr(transformer, "FEED_FORWARD", 10)
    np.random.seed(0)
    m = CaptioningTransformer(WORD_TO_IDX, F, E, max_length=8, dtype=np.float64)
    for name, w in m.params.items():
        m.params[name] = w + 0.4 * np.random.randn(*w.shape)
    return m


def test_parameters_are_initialized_as_in_the_assignment() -> None:
    np.random.seed(0)
    params = CaptioningTransformer(WORD_TO_IDX, F, E).params
    assert {w.dtype for w in params.values()} == {np.dtype(np.float32)}
    assert params["layer1_W1"].shape == (E, 2048)
    assert params["layer1_W1"].std() == pytest.approx(0.02, rel=0.05)
    assert params["layer0_gamma1"].tolist() == [1] * E
    assert not params["layer0_self_bq"].any()
    with pytest.raises(ValueError, match="num_heads: expected a divisor of wordvec_dim 8, got 3"):
        CaptioningTransformer(WORD_TO_IDX, F, E, num_heads=3)


def test_numeric_gradients(model: CaptioningTransformer) -> None:
    features = np.random.randn(3, F)
    _, grads = model.loss(features, CAPTIONS)
    assert grads.keys() == model.params.keys()
    for name in ("W_embed", "W_proj", "b_proj", "layer0_self_Wk", "layer1_cross_Wv", "layer0_W2", "W_vocab", "b_vocab"):
        numeric = eval_numerical_gradient(lambda _: model.loss(features, CAPTIONS)[0], model.params[name])
        np.testing.assert_allclose(grads[name], numeric, atol=1e-7, err_msg=name)


def test_sample_is_the_argmax_given_the_words_before(model: CaptioningTransformer) -> None:
    features = np.random.randn(20, F)
    tokens = model.sample(features, max_length=7)
    assert (tokens.shape, tokens.dtype) == ((20, 7), np.int32)
    for row, caption in zip(features, tokens.tolist(), strict=True):
        length = caption.index(2) + 1 if 2 in caption else 7
        assert caption[length:] == [0] * (7 - length)
        for t, word in enumerate(caption[:length]):
            losses = [model.loss(row[None], np.array([[1, *caption[:t], other]]))[0] for other in range(1, V)]
            assert word in (0, 1 + np.argmin(losses))  # the loss of <NULL> is masked


def test_captions_are_at_most_max_length(model: CaptioningTransformer) -> None:
    assert model.sample(np.ones((1, F)), max_length=8).shape == (1, 8)
    with pytest.raises(ValueError, match="max_length: expected at least 9, the steps of the captions, got 8"):
        model.loss(np.ones((1, F)), np.ones((1, 10), int))
    with pytest.raises(ValueError, match="max_length: expected at least 9, the steps of the captions, got 8"):
        model.sample(np.ones((0, F)), max_length=9)
    words = {word: i for word, i in WORD_TO_IDX.items() if word != "<END>"}
    with pytest.raises(ValueError, match="<END>"):
        CaptioningTransformer(words, F, E).sample(np.ones((1, F)))
    with pytest.raises(KeyError, match="<NULL>"):
        CaptioningTransformer({"cat": 0}, F, E)


def test_the_solver_overfits_two_captions() -> None:
    np.random.seed(0)
    m = CaptioningTransformer(WORD_TO_IDX, F, 16)
    captions = np.array([[1, 4, 5, 6, 2], [1, 4, 8, 2, 0]])
    data: dict[str, Any] = {
        "train_captions": captions, "train_image_idxs": np.arange(2), "train_urls": np.array(["a", "b"]),
        "train_features": np.random.randn(2, F).astype(np.float32),
    }  # fmt: skip
    config = {"learning_rate": 2e-3}
    solver = CaptioningSolver(
        m, data, update_rule="adam", optim_config=config, batch_size=8, num_epochs=300, verbose=False
    )
    solver.train()
    assert solver.loss_history[-1] < 0.1
    sampled = m.sample(data["train_features"], max_length=4).tolist()
    assert sampled == [[4, 5, 6, 2], [4, 8, 2, 0]]


def test_loss_and_gradients_equal_pytorchs(model: CaptioningTransformer) -> None:
    """The assignment's model of PyTorch's own modules."""
    torch = pytest.importorskip("torch")
    nn, p, features = torch.nn, model.params, np.random.randn(3, F)
    layer = nn.TransformerDecoderLayer(E, 4, 10, dropout=0.0, batch_first=True, dtype=torch.float64)
    decoder = nn.TransformerDecoder(layer, 2)
    tensors = {
        name: torch.tensor(p[name], requires_grad=True)
        for name in ("W_embed", "W_proj", "b_proj", "W_vocab", "b_vocab")
    }
    pairs: list[tuple[list[str], Any]] = []
    for i, module in enumerate(decoder.layers):
        for prefix, attention in (("self", module.self_attn), ("cross", module.multihead_attn)):
            pairs += [([f"layer{i}_{prefix}_W{x}" for x in "qkv"], attention.in_proj_weight)]
            pairs += [([f"layer{i}_{prefix}_b{x}" for x in "qkv"], attention.in_proj_bias)]
            pairs += [([f"layer{i}_{prefix}_Wo"], attention.out_proj.weight)]
            pairs += [([f"layer{i}_{prefix}_bo"], attention.out_proj.bias)]
        for k, kind in ((1, "linear"), (2, "linear"), (1, "norm"), (2, "norm"), (3, "norm")):
            weight, bias = ("W", "b") if kind == "linear" else ("gamma", "beta")
            inner = getattr(module, f"{kind}{k}")
            pairs += [([f"layer{i}_{weight}{k}"], inner.weight), ([f"layer{i}_{bias}{k}"], inner.bias)]
    with torch.no_grad():
        for names, tensor in pairs:
            tensor.copy_(torch.tensor(np.concatenate([p[name].T for name in names])))
    words = tensors["W_embed"][torch.tensor(CAPTIONS[:, :-1])] + torch.tensor(model._positions[:4])
    memory = (torch.tensor(features) @ tensors["W_proj"] + tensors["b_proj"])[:, None]
    hidden = decoder(words, memory, tgt_mask=nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64))
    scores, targets = hidden @ tensors["W_vocab"] + tensors["b_vocab"], torch.tensor(CAPTIONS[:, 1:])
    expected = (
        nn.functional.cross_entropy(scores.reshape(-1, V), targets.reshape(-1), ignore_index=0, reduction="sum") / 3
    )
    expected.backward()
    loss, grads = model.loss(features, CAPTIONS)
    assert loss == pytest.approx(expected.item(), abs=1e-10)
    for name, tensor in tensors.items():
        np.testing.assert_allclose(grads[name], tensor.grad.numpy(), atol=1e-10, err_msg=name)
    for names, tensor in pairs:
        ours = np.concatenate([grads[name].T for name in names])
        np.testing.assert_allclose(ours, tensor.grad.numpy(), atol=1e-10, err_msg=names[0])
    assert len(tensors) + sum(len(names) for names, _ in pairs) == len(p)
