"""CaptioningModel: what all decoders share, from packed captions to the loss and the gradients of all parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np

from captioner.arrays import Array, BatchPart, Params, SharedRows
from captioner.errors import DataError
from captioner.layers.dropout import NO_DROPOUT, Dropout
from captioner.model.image_input import Standardizer
from captioner.model.interface import State, StepModel
from captioner.model.losses import (
    Losses,
    Outputs,
    Words,
    output_cross_entropy,
    outputs_backward,
    pack_words,
    select_targets,
    words_backward,
)
from captioner.model.parameters import Shapes, Sizes
from captioner.parallel.thread_pool import SERIAL, ThreadPool


class TeacherForced(NamedTuple):
    """The words of captions, the outputs of the decoder at their targets, and the cache of the decoder."""

    words: Words
    outputs: Outputs
    decoder: Any


LossCache: TypeAlias = tuple[Array, Array, TeacherForced]
"""Gradients of the scores and of their bias, and the cache of the outputs."""


class CaptioningModel(ABC):
    """An image captioning model: a decoder predicts each word of a caption from the image and the words before.

    log P(word_{t+1}) = log softmax(h_t W_vocab + b_vocab),   with h_t the output of the decoder for the words up to t

    `params` holds the parameters by name; parameters and gradients have one float type. `smoothing` is the label
    smoothing of the training loss. A model without attention ignores `regions`.

    Shapes: features (N, F) of any float type, captions (N, T) ids, regions of N rows and values (M, L, R).
    Raises: DataError when a parameter is missing or has an unexpected shape or type, or the regions are missing.
    """

    shares_inputs = True
    """Whether the embedding of a word is the same decoder input at every position."""

    groups_captions = False
    """Whether the regions of an image are projected once for all of its captions in a worker."""

    @staticmethod
    @abstractmethod
    def shapes(sizes: Sizes) -> Shapes:
        """Return the shapes of all parameters, in the order in which they are initialized."""

    @staticmethod
    @abstractmethod
    def embed_divisor(sizes: Sizes) -> float:
        """Return the d of the initial word vectors N(0, 1) / d."""

    @staticmethod
    @abstractmethod
    def describe(sizes: Sizes) -> dict[str, str]:
        """Describe the decoder by property, for readers."""

    def __init__(
        self,
        sizes: Sizes,
        params: Params,
        null: int = 0,
        dropout: Dropout = NO_DROPOUT,
        standardizer: Standardizer | None = None,
        smoothing: float = 0.0,
        region_standardizer: Standardizer | None = None,
    ) -> None:
        shapes = self.shapes(sizes)
        for name, shape in shapes.items():
            if name not in params or params[name].shape != shape:
                got = params[name].shape if name in params else "nothing"
                raise DataError(f"parameter {name}: expected {shape}, got {got}")
        if params.keys() != shapes.keys() or len({w.dtype for w in params.values()}) > 1:
            kinds = {name: str(w.dtype) for name, w in params.items()}
            raise DataError(f"parameters: expected {', '.join(shapes)} of one float type, got {kinds}")
        self.sizes = sizes
        # A fixed order, whatever the order of the file or dict: sums over parameters are bit-identical.
        self.params = {name: params[name] for name in shapes}
        self.null = null
        self.dropout = dropout
        self.standardizer = standardizer
        self.region_standardizer = region_standardizer
        self.smoothing = smoothing

    def with_params(self, params: Params) -> Self:
        """Return the same model with other parameters."""
        options = self.null, self.dropout, self.standardizer, self.smoothing, self.region_standardizer
        return type(self)(self.sizes, params, *options)

    @property
    def dtype(self) -> np.dtype[np.floating]:
        return self.params["W_vocab"].dtype

    @property
    def parameter_count(self) -> int:
        return sum(w.size for w in self.params.values())

    @property
    def attends(self) -> bool:
        """Whether the model attends to image regions."""
        return self.sizes.attends

    @abstractmethod
    def start(self, features: Array, regions: SharedRows | None = None) -> State:
        """Return the state before the first word.

        Shapes: features (N, F) -> a state of N rows.
        """

    @abstractmethod
    def for_inference(self) -> StepModel:
        """Copy the current weights, packed for repeated steps."""

    @abstractmethod
    def _decode(
        self,
        words: Words,
        image: Array,
        regions: SharedRows | None,
        rng: np.random.Generator | None,
        save_for_backward: bool,
        pool: ThreadPool,
    ) -> tuple[Array, Any]:
        """Compute the output of the decoder at each packed word, and the cache for `_decode_backward`.

        Shapes: image (N, F) -> (P, H).
        """

    @abstractmethod
    def _decode_backward(self, dhidden: Array, cache: Any, pool: ThreadPool) -> tuple[Array, Params]:
        """Compute the gradients of the inputs, and of the decoder's parameters.

        Shapes: dhidden (P, H) -> dinputs like the inputs.
        """

    @abstractmethod
    def _row_attention(self, cache: Any) -> Array:
        """Return the attention weights of each packed word: those of the regions, then that of the sentinel.

        Shapes: -> (P, L + 1).
        """

    def loss(
        self,
        features: Array,
        captions: Array,
        rng: np.random.Generator | None = None,
        pool: ThreadPool = SERIAL,
        weights: Array | None = None,
        regions: SharedRows | None = None,
    ) -> tuple[float, Params]:
        """Compute the cross-entropy of the captions, summed over words and divided by N, and its gradients.

        loss = 1/N Σ_n weight_n Σ_t -log P(word_nt | words before, image n), with weights of 1 by default.

        `<NULL>` targets are masked. Dropout draws its noise from `rng`; without `rng` there is no dropout. The size of
        the pool affects floating-point rounding only.

        Shapes: features (N, F), captions (N, T), weights (N,) -> loss, a gradient for each parameter.
        """
        losses, cache = self.forward(features, captions, rng, pool, weights, regions)
        return losses.loss, self.backward(cache, pool)

    def forward(
        self,
        features: Array,
        captions: Array,
        rng: np.random.Generator | None = None,
        pool: ThreadPool = SERIAL,
        weights: Array | None = None,
        regions: SharedRows | None = None,
        part: BatchPart | None = None,
    ) -> tuple[Losses, LossCache]:
        """Compute the losses, and the cache for `backward`; with `part`, those of the captions of a rank.

        Shapes: features (N, F), captions (N, T), weights (N,) -> losses, cache.
        """
        states = self._teacher_force(features, captions, rng, True, pool, regions, part)
        rows = states.outputs.captions
        row_weights = np.ones(len(rows), self.dtype) if weights is None else weights[rows]
        count = len(captions if part is None else part.lengths)
        scale = (row_weights / count).astype(self.dtype)
        losses, nll, dscores, db_vocab = self._cross_entropy(states.outputs, scale, self.smoothing, pool)
        result = Losses(
            loss=float(np.vdot(losses.astype(np.float64), row_weights)) / count,
            words=len(losses),
            trained_sum=float(losses.sum(dtype=np.float64)),
            nll_sum=float(nll.sum(dtype=np.float64)),
        )
        return result, (dscores, db_vocab, states)

    def backward(self, cache: LossCache, pool: ThreadPool = SERIAL) -> Params:
        """Compute the gradients of `forward`'s loss for all parameters."""
        dscores, db_vocab, states = cache
        W_vocab, hidden = self.params["W_vocab"], states.outputs.hidden
        dW_vocab = pool.matmul(hidden.T, dscores, np.empty(W_vocab.shape, self.dtype))
        dinputs, grads = self._backward_to_inputs(dscores, states, pool)
        grads |= {"W_embed": words_backward(dinputs, states.words), "W_vocab": dW_vocab, "b_vocab": db_vocab}
        return {name: grads[name] for name in self.params}

    def _backward_to_inputs(self, dscores: Array, states: TeacherForced, pool: ThreadPool) -> tuple[Array, Params]:
        """Compute the gradients of the inputs of the decoder, and of its parameters.

        Shapes: dscores (S, V) -> dinputs like the inputs.
        """
        dhidden = pool.matmul(dscores, self.params["W_vocab"].T, np.empty(states.outputs.hidden.shape, self.dtype))
        return self._decode_backward(outputs_backward(dhidden, states.outputs), states.decoder, pool)

    def input_gradients(self, features: Array, captions: Array, regions: SharedRows | None = None) -> Array:
        """Compute the gradient of each caption's last word's loss with respect to the embedded words before it.

        Shapes: features (N, F), captions (N, T + 1) -> (N, T, D).
        """
        states = self._teacher_force(features, captions, None, True, SERIAL, regions, shares_inputs=False)
        packing, steps = states.words.packing, captions.shape[1] - 1
        scale = (packing.time[states.outputs.is_target] == steps - 1).astype(self.dtype)
        _, _, dscores, _ = self._cross_entropy(states.outputs, scale, 0.0, SERIAL)
        return packing.unpack(self._backward_to_inputs(dscores, states, SERIAL)[0], steps)

    def word_losses(
        self, features: Array, captions: Array, pool: ThreadPool = SERIAL, regions: SharedRows | None = None
    ) -> Array:
        """Compute the negative log-probability of each unmasked word, without dropout; the order is unspecified.

        Shapes: features (N, F), captions (N, T) -> (S,), S unmasked words.
        """
        outputs = self._teacher_force(features, captions, None, False, pool, regions).outputs
        return self._cross_entropy(outputs, np.ones(len(outputs.captions), self.dtype), 0.0, pool)[0]

    def attention_weights(
        self, features: Array, captions: Array, regions: SharedRows | None, pool: ThreadPool = SERIAL
    ) -> Array:
        """Compute the attention weights with which each target word is predicted, by teacher forcing.

        weights[n, t] are those of the prediction of captions[n, t + 1]: of the L regions, then of the sentinel. They
        are 0 after the end of a caption.

        Shapes: features (N, F), captions (N, T) -> (N, T - 1, L + 1).
        Raises: DataError for a model without attention.
        """
        if not self.attends:
            raise DataError("attention weights: expected a model with attention, got one with model.attention none")
        states = self._teacher_force(features, captions, None, False, pool, regions)
        return states.words.packing.unpack(self._row_attention(states.decoder), captions.shape[1] - 1)

    def step(self, tokens: Array, state: State) -> tuple[Array, State]:
        """Feed one word per caption and return the log-probabilities of the next.

        This packs the weights for a single step; for repeated calls use `for_inference().step`.

        Shapes: tokens (N,) ids, state arrays as `start` returns them -> log_probs (N, V), state arrays.
        """
        return self.for_inference().step(tokens, state)

    def _image(self, features: Array) -> Array:
        image = features.astype(self.dtype)
        if self.standardizer is not None:
            self.standardizer.apply(image)
        return image

    def _regions(self, regions: SharedRows | None) -> SharedRows | None:
        """Convert regions to the type of the parameters, and standardize them; None without attention."""
        if not self.attends:
            return None
        if regions is None or regions.values.ndim != 3 or regions.values.shape[2] != self.sizes.region:
            got = "none" if regions is None else str(regions.values.shape)
            raise DataError(
                f"regions: expected (images, regions, {self.sizes.region}) for model.attention "
                f"{self.sizes.attention}, got {got}"
            )
        values = regions.values.astype(self.dtype)
        if self.region_standardizer is not None:
            self.region_standardizer.apply(values)
        return SharedRows(values, regions.index)

    def _teacher_force(
        self,
        features: Array,
        captions: Array,
        rng: np.random.Generator | None,
        save_for_backward: bool,
        pool: ThreadPool,
        regions: SharedRows | None,
        part: BatchPart | None = None,
        shares_inputs: bool | None = None,
    ) -> TeacherForced:
        """Feed each caption's words to the decoder, and return its outputs at the unmasked targets."""
        image, dropout, regions = self._image(features), self.dropout, self._regions(regions)
        shares_inputs = self.shares_inputs if shares_inputs is None else shares_inputs
        W_embed = self.params["W_embed"]
        sharing = shares_inputs, self.groups_captions
        words, image = pack_words(captions, self.null, W_embed, image, dropout, rng, pool, regions, part, *sharing)
        hidden, cache = self._decode(words, image, regions, rng, save_for_backward, pool)
        return TeacherForced(words, select_targets(hidden, words, self.null, dropout.hidden, rng, pool), cache)

    def _cross_entropy(
        self, outputs: Outputs, scale: Array, smoothing: float, pool: ThreadPool
    ) -> tuple[Array, Array, Array, Array]:
        W, b = self.params["W_vocab"], self.params["b_vocab"]
        return output_cross_entropy(outputs.hidden, outputs.targets, W, b, scale, smoothing, pool)
