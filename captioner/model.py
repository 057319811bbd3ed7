"""CaptioningRNN: an image feature starts the state, and the cell writes the caption word by word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from captioner.arrays import Array, Params
from captioner.errors import DataError
from captioner.layers import CELLS
from captioner.layers.affine import affine_forward, affine_weights_backward
from captioner.layers.cell import ScanCache, State, scan_backward, scan_forward, step_forward
from captioner.layers.dropout import dropout_backward, dropout_forward
from captioner.layers.embedding import word_embedding_backward, word_embedding_forward
from captioner.layers.packing import pack
from captioner.layers.softmax import cross_entropy, log_softmax
from captioner.workspace import Workspace

Normal = Callable[[tuple[int, ...]], Array]
"""Draws standard normal numbers of a shape."""


@dataclass(frozen=True)
class Sizes:
    """The sizes that fix the shape of every parameter, and the cell."""

    vocab: int
    feature: int
    wordvec: int
    hidden: int
    cell: str = "lstm"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by CS231n's names and in the order in which it draws them."""
        gates = CELLS[self.cell].gates * self.hidden
        return {
            "W_embed": (self.vocab, self.wordvec),
            "W_proj": (self.feature, self.hidden),
            "b_proj": (self.hidden,),
            "Wx": (self.wordvec, gates),
            "Wh": (self.hidden, gates),
            "b": (gates,),
            "W_vocab": (self.hidden, self.vocab),
            "b_vocab": (self.vocab,),
        }


class Dropout(NamedTuple):
    """The share of numbers dropped in training: of the image feature, the word vectors, the hidden output."""

    features: float = 0.0
    words: float = 0.0
    hidden: float = 0.0


NO_DROPOUT = Dropout()


class Standardizer(NamedTuple):
    """Mean and deviation (F,) of the features that a model was trained on."""

    mean: Array
    std: Array


def initial_params(sizes: Sizes, normal: Normal, dtype: type = np.float32) -> Params:
    """Draw fresh parameters: weights N(0, 1) / sqrt(fan in), word vectors N(0, 1) / 100, biases 0.

    Source: CS231n, assignment 3, classifiers/rnn.py.
    """
    divisors = {"W_embed": 100.0}
    return {
        name: (normal(shape) / divisors.get(name, np.sqrt(shape[0]))).astype(dtype)
        if len(shape) > 1
        else np.zeros(shape, dtype)
        for name, shape in sizes.shapes().items()
    }


def add_forget_bias(params: Params, sizes: Sizes, bias: float) -> None:
    """Start the forget gate open, in place: b_f += bias. A cell without that gate stays as it is.

    Source: Jozefowicz et al. 2015, "An Empirical Exploration of Recurrent Network Architectures", section 2.2.
    """
    gate = CELLS[sizes.cell].forget
    if gate is not None:
        params["b"][gate * sizes.hidden : (gate + 1) * sizes.hidden] += bias


def log_frequency_bias(captions: Array, vocab: int, null: int) -> Array:
    """A start for b_vocab: the log-frequency of every word as a target, so that the first loss is the unigram entropy.

    b_v = log((count_v + 1) / Σ_w (count_w + 1))

    Shapes: captions (K, T) -> (V,) float64.
    Source: Karpathy's NeuralTalk, which starts its output bias the same way.
    """
    targets = captions[:, 1:]
    counts = np.bincount(targets[targets != null], minlength=vocab) + 1.0
    bias: Array = np.log(counts / counts.sum())
    return bias


class Encoded(NamedTuple):
    """What one forward pass over a batch leaves behind for the loss and the backward pass.

    Shapes: hidden (S, H), the rows of the scan that have a word to predict; targets (S,).
    """

    hidden: Array
    targets: Array
    image: Array
    words: tuple[Array, tuple[int, ...]]
    words_mask: Array | None
    hidden_mask: Array | None
    scored: Array
    scan: ScanCache


LossCache: TypeAlias = tuple[Array, Array, Encoded]
"""The gradients of the scores and of their bias, and what led to them."""


class CaptioningRNN:
    """An image captioner with a recurrent decoder.

    h0 = image W_proj + b_proj;   x_t = W_embed[word_t];   h_t = cell(x_t, h_{t-1});
    log P(word_{t+1}) = log softmax(h_t W_vocab + b_vocab)

    `params` holds the parameters by CS231n's names; all are of one float type, and so are all gradients.

    Shapes: features (N, F) of any float type, captions (N, T) ids.
    Source: Vinyals et al. 2015, "Show and Tell"; CS231n, assignment 3 (the image as h0).
    """

    def __init__(
        self,
        sizes: Sizes,
        params: Params,
        null: int = 0,
        dropout: Dropout = NO_DROPOUT,
        standardizer: Standardizer | None = None,
    ) -> None:
        for name, shape in sizes.shapes().items():
            if name not in params or params[name].shape != shape:
                got = params[name].shape if name in params else "nothing"
                raise DataError(f"parameter {name}: expected {shape}, got {got}")
        if params.keys() != sizes.shapes().keys() or len({w.dtype for w in params.values()}) > 1:
            kinds = {name: str(w.dtype) for name, w in params.items()}
            raise DataError(f"parameters: expected {', '.join(sizes.shapes())} of one float type, got {kinds}")
        self.sizes = sizes
        self.params = params
        self.null = null
        self.dropout = dropout
        self.standardizer = standardizer
        self.cell = CELLS[sizes.cell]

    @property
    def dtype(self) -> np.dtype[np.floating]:
        return self.params["Wh"].dtype

    def loss(
        self,
        features: Array,
        captions: Array,
        rng: np.random.Generator | None = None,
        workspace: Workspace | None = None,
    ) -> tuple[float, Params]:
        """Cross-entropy of the captions, summed over words and divided by N, and its gradients.

        A target that is `<NULL>` is masked. Dropout takes its noise from `rng`; without it nothing is dropped.
        With a workspace the gradients stand in it until its next use.

        Shapes: features (N, F), captions (N, T) -> loss, a gradient for every parameter.
        """
        loss, cache = self.forward(features, captions, rng, workspace)
        return loss, self.backward(cache, workspace)

    def forward(
        self,
        features: Array,
        captions: Array,
        rng: np.random.Generator | None = None,
        workspace: Workspace | None = None,
    ) -> tuple[float, LossCache]:
        """The loss alone, and what `backward` needs.

        Shapes: features (N, F), captions (N, T) -> loss, cache.
        """
        encoded = self._encode(features, captions, rng, True, workspace)
        losses, dscores, db_vocab = self._cross_entropy(encoded, 1 / len(captions), workspace)
        return float(losses.sum(dtype=np.float64)) / len(captions), (dscores, db_vocab, encoded)

    def backward(self, cache: LossCache, workspace: Workspace | None = None) -> Params:
        """The gradients of `forward`'s loss, for every parameter; in the workspace, where one is given."""
        empty = (workspace or Workspace()).empty
        p, (dscores, db_vocab, e) = self.params, cache
        dhidden = np.matmul(dscores, p["W_vocab"].T, out=empty("dhidden", e.hidden.shape, self.dtype))
        dW_vocab = np.matmul(e.hidden.T, dscores, out=empty("dW_vocab", p["W_vocab"].shape, self.dtype))
        dhidden = _undrop(dhidden, e.hidden_mask)
        if len(dhidden) < len(e.scored):
            scattered = np.zeros_like(dhidden, shape=(len(e.scored), dhidden.shape[1]))
            scattered[e.scored] = dhidden
            dhidden = scattered
        dinputs, (dh0, *_), dWx, dWh, db = scan_backward(self.cell, dhidden, e.scan, workspace)
        dW_embed = empty("dW_embed", p["W_embed"].shape, self.dtype)
        word_embedding_backward(_undrop(dinputs, e.words_mask), e.words, out=dW_embed)
        dW_proj, db_proj = affine_weights_backward(dh0, e.image)
        return {
            "W_embed": dW_embed,
            "W_proj": dW_proj,
            "b_proj": db_proj,
            "Wx": dWx,
            "Wh": dWh,
            "b": db,
            "W_vocab": dW_vocab,
            "b_vocab": db_vocab,
        }

    def word_losses(self, features: Array, captions: Array, workspace: Workspace | None = None) -> Array:
        """The negative log-probability of every unmasked word, without dropout or gradients.

        Shapes: features (N, F), captions (N, T) -> (S,), S unmasked words.
        """
        encoded = self._encode(features, captions, None, False, workspace)
        return self._cross_entropy(encoded, 1.0, workspace)[0]

    def _cross_entropy(self, encoded: Encoded, scale: float, workspace: Workspace | None) -> tuple[Array, Array, Array]:
        hidden, W_vocab = encoded.hidden, self.params["W_vocab"]
        scores = (workspace or Workspace()).empty("scores", (len(hidden), self.sizes.vocab), self.dtype)
        np.matmul(hidden, W_vocab, out=scores)
        return cross_entropy(scores, encoded.targets, scale, self.params["b_vocab"])

    def _image(self, features: Array) -> Array:
        image = features.astype(self.dtype)
        if self.standardizer is not None:
            image -= self.standardizer.mean.astype(self.dtype)
            image /= self.standardizer.std.astype(self.dtype)
        return image

    def _state(self, image: Array) -> State:
        h0, _ = affine_forward(image, self.params["W_proj"], self.params["b_proj"])
        return (h0, *(np.zeros_like(h0) for _ in range(self.cell.states - 1)))

    def _encode(
        self,
        features: Array,
        captions: Array,
        rng: np.random.Generator | None,
        keep: bool,
        workspace: Workspace | None,
    ) -> Encoded:
        p = self.params
        image, _ = _drop(self._image(features), self.dropout.features, rng)
        # The steps of a caption end with its last target; a masked target before it is a step without a loss.
        ends = np.arange(1, captions.shape[1]) * (captions[:, 1:] != self.null)
        packing = pack(ends.max(axis=1, initial=0))
        read = captions[packing.caption, packing.time]
        targets = captions[packing.caption, packing.time + 1]
        if rng is not None and self.dropout.words:
            # Every place has its own noise, so that no two rows are alike.
            distinct, ids = read, None
        else:
            distinct, ids = np.unique(read, return_inverse=True)
        inputs, words = word_embedding_forward(distinct, p["W_embed"])
        inputs, words_mask = _drop(inputs, self.dropout.words, rng)

        initial = self._state(image)
        hidden, scan = scan_forward(self.cell, inputs, ids, initial, p["Wx"], p["Wh"], p["b"], packing, keep, workspace)
        scored = targets != self.null
        if not scored.all():
            hidden, targets = hidden[scored], targets[scored]
        hidden, hidden_mask = _drop(hidden, self.dropout.hidden, rng)
        return Encoded(hidden, targets, image, words, words_mask, hidden_mask, scored, scan)

    def start(self, features: Array) -> State:
        """The state before the first word.

        Shapes: features (N, F) -> arrays (N, H).
        """
        return self._state(self._image(features))

    def step(self, tokens: Array, state: State) -> tuple[Array, State]:
        """Read one word of every caption and tell the log-probabilities of the next.

        Shapes: tokens (N,) ids, state arrays (N, H) -> log_probs (N, V), state arrays (N, H).
        """
        p = self.params
        distinct, ids = np.unique(tokens, return_inverse=True)
        state, _ = step_forward(self.cell, p["W_embed"][distinct], state, p["Wx"], p["Wh"], p["b"], False, ids)
        scores = state[0] @ p["W_vocab"]
        return log_softmax(scores, p["b_vocab"], out=scores), state


def _drop(x: Array, p: float, rng: np.random.Generator | None) -> tuple[Array, Array | None]:
    return (x, None) if rng is None or not p else dropout_forward(x, p, rng)


def _undrop(dout: Array, mask: Array | None) -> Array:
    return dout if mask is None else dropout_backward(dout, mask)
