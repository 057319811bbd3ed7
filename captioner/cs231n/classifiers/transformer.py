"""The assignment's `cs231n/classifiers/transformer.py`: CaptioningTransformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from captioner.arrays import Array, Params
from captioner.cs231n.transformer_layers import decoder_layer_backward, decoder_layer_forward, positional_encoding
from captioner.layers.affine import affine_backward, affine_forward, temporal_affine_backward, temporal_affine_forward
from captioner.layers.embedding import word_embedding_backward, word_embedding_forward
from captioner.layers.softmax import temporal_softmax_loss

__all__ = ["CaptioningTransformer"]

FEED_FORWARD = 2048
"""The dimension of the feed-forward layers, as in the assignment."""


class CaptioningTransformer:
    """The assignment's transformer in NumPy: the projected image feature is the memory of every layer.

    `params` has those of layer i with the prefix `layer{i}_`, as in `decoder_layer_forward`.

    Raises: ValueError if the heads do not divide wordvec_dim, KeyError without `<NULL>` in word_to_idx.
    """

    def __init__(
        self,
        word_to_idx: Mapping[str, int],
        input_dim: int,
        wordvec_dim: int,
        num_heads: int = 4,
        num_layers: int = 2,
        max_length: int = 50,
        dtype: type = np.float32,
    ) -> None:
        if wordvec_dim % num_heads:
            raise ValueError(f"num_heads: expected a divisor of wordvec_dim {wordvec_dim}, got {num_heads}")
        self.word_to_idx = word_to_idx
        self.idx_to_word = {i: w for w, i in word_to_idx.items()}
        self.dtype = dtype
        self.num_heads, self.num_layers = num_heads, num_layers
        self._null, self._start, self._end = word_to_idx["<NULL>"], *map(word_to_idx.get, ("<START>", "<END>"))
        self._positions: Array = positional_encoding(max_length, wordvec_dim).astype(dtype)
        vocab, width = len(word_to_idx), wordvec_dim
        attention = {f"{kind}{x}": (width, width)[: 2 if kind == "W" else 1] for x in "qkvo" for kind in "Wb"}
        layer = {
            **{f"{prefix}_{name}": shape for prefix in ("self", "cross") for name, shape in attention.items()},
            "W1": (width, FEED_FORWARD),
            "b1": (FEED_FORWARD,),
            "W2": (FEED_FORWARD, width),
            "b2": (width,),
            **{f"{name}{i}": (width,) for i in (1, 2, 3) for name in ("gamma", "beta")},
        }
        shapes: dict[str, tuple[int, ...]] = {
            "W_embed": (vocab, width),
            "W_proj": (input_dim, width),
            "b_proj": (width,),
            **{f"layer{i}_{name}": shape for i in range(num_layers) for name, shape in layer.items()},
            "W_vocab": (width, vocab),
            "b_vocab": (vocab,),
        }
        self.params: Params = {name: self._initial(name, shape) for name, shape in shapes.items()}

    def _initial(self, name: str, shape: tuple[int, ...]) -> Array:
        """Draw matrices from N(0, 0.02²), as the assignment does; scales of norms are 1, biases 0."""
        if len(shape) == 1:
            return np.full(shape, 1.0 if "gamma" in name else 0.0, self.dtype)
        return (0.02 * np.random.randn(*shape)).astype(self.dtype)

    def _layer(self, i: int) -> Params:
        prefix = f"layer{i}_"
        return {name.removeprefix(prefix): w for name, w in self.params.items() if name.startswith(prefix)}

    def _check_steps(self, steps: int) -> None:
        if steps > len(self._positions):
            raise ValueError(
                f"max_length: expected at least {steps}, the steps of the captions, got {len(self._positions)}"
            )

    def _forward(self, features: Array, captions: Array) -> tuple[Array, Any]:
        """Compute the output of the last layer at each position.

        Shapes: features (N, F), captions (N, T) -> (N, T, W).
        """
        p, steps = self.params, captions.shape[1]
        self._check_steps(steps)
        image, projection = affine_forward(np.asarray(features, self.dtype), p["W_proj"], p["b_proj"])
        words, embedding = word_embedding_forward(captions, p["W_embed"])
        x, memory, causal = words + self._positions[:steps], image[:, None], np.tri(steps, dtype=bool)
        layers = []
        for i in range(self.num_layers):
            x, cache = decoder_layer_forward(x, memory, self._layer(i), self.num_heads, causal)
            layers.append(cache)
        return x, (projection, embedding, layers)

    def loss(self, features: Array, captions: Array) -> tuple[float, Params]:
        """Compute the loss of a batch and its gradients: summed over words that are not `<NULL>`, divided by N.

        Shapes: features (N, F), captions (N, T) -> loss, grads like params.
        Raises: ValueError for captions of more than max_length steps.
        """
        targets = captions[:, 1:]
        x, (projection, embedding, layers) = self._forward(features, captions[:, :-1])
        scores, output = temporal_affine_forward(x, self.params["W_vocab"], self.params["b_vocab"])
        loss, dscores = temporal_softmax_loss(scores, targets, targets != self._null)
        grads: Params = {}
        dx, grads["W_vocab"], grads["b_vocab"] = temporal_affine_backward(dscores, output)
        dimage = np.zeros((len(captions), 1, dx.shape[2]), dx.dtype)
        for i in reversed(range(self.num_layers)):
            dx, dmemory, dlayer = decoder_layer_backward(dx, layers[i])
            dimage += dmemory
            grads |= {f"layer{i}_{name}": grad for name, grad in dlayer.items()}
        grads["W_embed"] = word_embedding_backward(dx, embedding)
        _, grads["W_proj"], grads["b_proj"] = affine_backward(dimage[:, 0], projection)
        return loss, {name: grads[name] for name in self.params}

    def sample(self, features: Array, max_length: int = 30) -> Array:
        """Decode greedily, and compute all positions again for each word, as the assignment does.

        Shapes: features (N, F) -> (N, max_length) int32; the first column is the first word after `<START>`.
        Raises: ValueError when the vocabulary lacks `<START>` or `<END>`, or max_length exceeds that of the model.
        """
        if self._start is None or self._end is None:
            raise ValueError("sample needs <START> and <END> in word_to_idx")
        self._check_steps(max_length)
        captions = np.full((len(features), max_length + 1), self._null, np.int32)
        captions[:, 0] = self._start
        unfinished = np.ones(len(features), bool)
        for t in range(max_length):
            x, _ = self._forward(features, captions[:, : t + 1])
            scores, _ = affine_forward(x[unfinished, t], self.params["W_vocab"], self.params["b_vocab"])
            captions[unfinished, t + 1] = scores.argmax(axis=1)
            unfinished &= captions[:, t + 1] != self._end
            if not unfinished.any():
                break
        return captions[:, 1:]
