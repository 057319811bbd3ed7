"""CaptioningRNN: an image feature starts the state, and the cell writes the caption word by word."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np

from captioner.arrays import Array, Params
from captioner.errors import DataError
from captioner.layers import CELLS
from captioner.layers.cell import State
from captioner.layers.embedding import word_embedding_backward, word_embedding_forward
from captioner.layers.packing import pack
from captioner.layers.scan import ScanCache, scan_backward, scan_forward
from captioner.layers.softmax import cross_entropy
from captioner.model.dropout import NO_DROPOUT, Dropout, drop, undrop
from captioner.model.image_input import IMAGE_INPUTS, StartCache, start_backward, start_forward
from captioner.model.inference_step import Reader
from captioner.model.parameters import Sizes
from captioner.model.standardizer import Standardizer
from captioner.parallel.buffers import Workspace
from captioner.parallel.thread_pool import SERIAL, ThreadPool


class Encoded(NamedTuple):
    """What one forward pass over a batch leaves behind for the loss and the backward pass.

    Shapes: hidden (S, H), the rows of the scan that have a word to predict; targets (S,); rows (S,), whose caption each
    is.
    """

    hidden: Array
    targets: Array
    rows: Array
    start: StartCache
    words: tuple[Array, tuple[int, ...]]
    words_mask: Array | None
    hidden_mask: Array | None
    scored: Array
    scan: ScanCache


class Losses(NamedTuple):
    """What a forward pass measures: the loss that is minimised, and means over the words without any weights.

    `loss` is weighted, smoothed, summed over words and divided by captions. Per word, `trained` is smoothed, and `nll`
    is the negative log-probability.
    """

    loss: float
    words: int
    trained: float
    nll: float


LossCache: TypeAlias = tuple[Array, Array, Encoded]
"""The gradients of the scores and of their bias, and what led to them."""


class CaptioningRNN:
    """An image captioner with a recurrent decoder.

    h0 = image W_proj + b_proj;   x_t = W_embed[word_t];   h_t = cell(x_t, h_{t-1});
    log P(word_{t+1}) = log softmax(h_t W_vocab + b_vocab)

    The image may also be an input (see `captioner.model.image_input`).
    `params` holds the parameters by CS231n's names; all are of one float type, and so are all gradients. `smoothing`
    is the label smoothing of training's loss.

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
        smoothing: float = 0.0,
    ) -> None:
        for name, shape in sizes.shapes().items():
            if name not in params or params[name].shape != shape:
                got = params[name].shape if name in params else "nothing"
                raise DataError(f"parameter {name}: expected {shape}, got {got}")
        if params.keys() != sizes.shapes().keys() or len({w.dtype for w in params.values()}) > 1:
            kinds = {name: str(w.dtype) for name, w in params.items()}
            raise DataError(f"parameters: expected {', '.join(sizes.shapes())} of one float type, got {kinds}")
        self.sizes = sizes
        # In one order, whatever file or dict they are from: sums over parameters have the same last bit.
        self.params = {name: params[name] for name in sizes.shapes()}
        self.null = null
        self.dropout = dropout
        self.standardizer = standardizer
        self.smoothing = smoothing
        self.cell = CELLS[sizes.cell]

    def with_params(self, params: Params) -> CaptioningRNN:
        """The same model with other parameters."""
        return CaptioningRNN(self.sizes, params, self.null, self.dropout, self.standardizer, self.smoothing)

    @property
    def dtype(self) -> np.dtype[np.floating]:
        return self.params["Wh"].dtype

    def loss(
        self,
        features: Array,
        captions: Array,
        rng: np.random.Generator | None = None,
        workspace: Workspace | None = None,
        pool: ThreadPool = SERIAL,
        weights: Array | None = None,
    ) -> tuple[float, Params]:
        """Cross-entropy of the captions, summed over words and divided by N, and its gradients.

        loss = 1/N Σ_n weight_n Σ_t -log P(word_nt | words before, image n), with all weights 1 unless given.

        A target that is `<NULL>` is masked. Dropout takes its noise from `rng`; without it nothing is dropped.
        With a workspace the gradients of matrices stand in it until its next use. The size of the team changes nothing
        but rounding.

        Shapes: features (N, F), captions (N, T), weights (N,) -> loss, a gradient for every parameter.
        """
        losses, cache = self.forward(features, captions, rng, workspace, pool, weights)
        return losses.loss, self.backward(cache, workspace, pool)

    def forward(
        self,
        features: Array,
        captions: Array,
        rng: np.random.Generator | None = None,
        workspace: Workspace | None = None,
        pool: ThreadPool = SERIAL,
        weights: Array | None = None,
    ) -> tuple[Losses, LossCache]:
        """The losses alone, and what `backward` needs.

        Shapes: features (N, F), captions (N, T), weights (N,) -> losses, cache.
        """
        encoded = self._encode(features, captions, rng, True, workspace, pool)
        of_row = np.ones(len(encoded.rows), self.dtype) if weights is None else weights[encoded.rows]
        scale = (of_row / len(captions)).astype(self.dtype)
        losses, nll, dscores, db_vocab = self._cross_entropy(encoded, scale, self.smoothing, workspace, pool)
        found = Losses(
            loss=float(np.vdot(losses.astype(np.float64), of_row)) / len(captions),
            words=len(losses),
            trained=float(losses.sum(dtype=np.float64)) / max(1, len(losses)),
            nll=float(nll.sum(dtype=np.float64)) / max(1, len(losses)),
        )
        return found, (dscores, db_vocab, encoded)

    def backward(self, cache: LossCache, workspace: Workspace | None = None, pool: ThreadPool = SERIAL) -> Params:
        """The gradients of `forward`'s loss, for every parameter; those of matrices stand in the workspace."""
        empty = (workspace or Workspace()).empty
        p, (dscores, db_vocab, e) = self.params, cache
        W_vocab = self.params["W_vocab"]
        dhidden = pool.matmul(dscores, W_vocab.T, empty("dhidden", e.hidden.shape, self.dtype))
        dW_vocab = pool.matmul(e.hidden.T, dscores, empty("dW_vocab", W_vocab.shape, self.dtype))
        dhidden = undrop(dhidden, e.hidden_mask)
        if len(dhidden) < len(e.scored):
            scattered = np.zeros_like(dhidden, shape=(len(e.scored), dhidden.shape[1]))
            scattered[e.scored] = dhidden
            dhidden = scattered
        dinputs, dstart, dWx, dWh, db = scan_backward(self.cell, dhidden, e.scan, workspace, pool)
        dW_embed = empty("dW_embed", p["W_embed"].shape, self.dtype)
        word_embedding_backward(undrop(dinputs, e.words_mask), e.words, out=dW_embed)
        grads = {"W_embed": dW_embed, "Wx": dWx, "Wh": dWh, "b": db, "W_vocab": dW_vocab, "b_vocab": db_vocab}
        dW_proj = empty("dW_proj", p["W_proj"].shape, self.dtype)
        for name, grad in start_backward(dstart, e.start, dW_proj, pool).items():
            # An array of its own; only Wx may have rows below those that the scan knows.
            if name in grads:
                grad[: len(grads[name])] += grads[name]
            grads[name] = grad
        return {name: grads[name] for name in p}

    def word_losses(
        self, features: Array, captions: Array, workspace: Workspace | None = None, pool: ThreadPool = SERIAL
    ) -> Array:
        """The negative log-probability of every unmasked word, without dropout or gradients, in no certain order.

        Shapes: features (N, F), captions (N, T) -> (S,), S unmasked words.
        """
        encoded = self._encode(features, captions, None, False, workspace, pool)
        return self._cross_entropy(encoded, np.ones(len(encoded.rows), self.dtype), 0.0, workspace, pool)[0]

    def _cross_entropy(
        self, encoded: Encoded, scale: Array, smoothing: float, workspace: Workspace | None, pool: ThreadPool
    ) -> tuple[Array, Array, Array, Array]:
        hidden, targets, W_vocab, bias = encoded.hidden, encoded.targets, self.params["W_vocab"], self.params["b_vocab"]
        scores = (workspace or Workspace()).empty("scores", (len(hidden), self.sizes.vocab), self.dtype)
        shards = pool.shards(len(hidden))

        def scored(worker: int) -> tuple[Array, Array, Array, Array]:
            some = shards[worker]
            np.matmul(hidden[some], W_vocab, out=scores[some])
            return cross_entropy(scores[some], targets[some], scale[some], bias, smoothing)

        found = pool.map(scored)
        losses, nll, _, dbiases = zip(*found, strict=True)
        return np.concatenate(losses), np.concatenate(nll), scores, sum(dbiases[1:], dbiases[0])

    def _image(self, features: Array) -> Array:
        image = features.astype(self.dtype)
        if self.standardizer is not None:
            image -= self.standardizer.mean.astype(self.dtype)
            image /= self.standardizer.std.astype(self.dtype)
        return image

    def _start(self, image: Array, pool: ThreadPool = SERIAL) -> tuple[State, StartCache]:
        return start_forward(IMAGE_INPUTS[self.sizes.image], self.cell, self.params, image, pool)

    def _encode(
        self,
        features: Array,
        captions: Array,
        rng: np.random.Generator | None,
        keep: bool,
        workspace: Workspace | None,
        pool: ThreadPool,
    ) -> Encoded:
        p = self.params
        image, _ = drop(self._image(features), self.dropout.features, rng, np.arange(len(features)), pool)
        # The steps of a caption end with its last target; a masked target before it is a step without a loss.
        ends = np.arange(1, captions.shape[1]) * (captions[:, 1:] != self.null)
        lengths = ends.max(axis=1, initial=0)
        packing = pack(lengths, pool.size)
        read = captions[packing.caption, packing.time]
        targets = captions[packing.caption, packing.time + 1]
        # Noise is drawn caption after caption, so that it does not depend on who computes which.
        rows = (np.cumsum(lengths) - lengths)[packing.caption] + packing.time
        if rng is not None and self.dropout.words:
            # Every place has its own noise, so that no two rows are alike.
            distinct, ids = read, None
        else:
            distinct, ids = np.unique(read, return_inverse=True)
        inputs, words = word_embedding_forward(distinct, p["W_embed"])
        inputs, words_mask = drop(inputs, self.dropout.words, rng, rows, pool)

        initial, start = self._start(image, pool)
        weights = p["Wx"][: self.sizes.wordvec], p["Wh"], p["b"]
        hidden, scan = scan_forward(self.cell, inputs, ids, initial, *weights, packing, keep, workspace, pool)
        hidden, hidden_mask = drop(hidden, self.dropout.hidden, rng, rows, pool)
        scored, of = targets != self.null, packing.caption
        if not scored.all():
            hidden, targets, of = hidden[scored], targets[scored], of[scored]
            hidden_mask = None if hidden_mask is None else hidden_mask[scored]
        return Encoded(hidden, targets, of, start, words, words_mask, hidden_mask, scored, scan)

    def start(self, features: Array) -> State:
        """The state before the first word.

        Shapes: features (N, F) -> arrays (N, H), and perhaps a context (N, G, H).
        """
        return self._start(self._image(features))[0]

    def reader(self) -> Reader:
        """The weights as they are now, laid out for decoding; later changes of `params` do not reach it."""
        return Reader(self.cell, self.params)

    def step(self, tokens: Array, state: State) -> tuple[Array, State]:
        """Read one word of every caption and tell the log-probabilities of the next.

        Lays the weights out for this one word: who reads many takes `reader().step`.

        Shapes: tokens (N,) ids, state arrays as `start` gives -> log_probs (N, V), state arrays.
        """
        return self.reader().step(tokens, state)
