"""CaptioningRNN: image features set the initial state of a recurrent decoder, which predicts the caption."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from captioner.arrays import Array, BatchPart, Params, SharedRows
from captioner.errors import DataError
from captioner.layers import CELLS
from captioner.layers.dropout import NO_DROPOUT, Dropout
from captioner.model.image_input import IMAGE_INPUTS, Standardizer, start_forward
from captioner.model.inference_model import InferenceModel
from captioner.model.interface import State
from captioner.model.losses import Losses, output_cross_entropy
from captioner.model.parameters import Sizes
from captioner.model.region_attention import image_keys
from captioner.model.teacher_forcing import TeacherForced, teacher_forced_backward, teacher_forced_forward
from captioner.parallel.thread_pool import SERIAL, ThreadPool

LossCache: TypeAlias = tuple[Array, Array, TeacherForced]
"""Gradients of the scores and of their bias, and the cache of the hidden states."""


class CaptioningRNN:
    """An image captioning model with a recurrent decoder.

    h0 = image W_proj + b_proj;   x_t = W_embed[word_t];   h_t = cell(x_t, h_{t-1});
    log P(word_{t+1}) = log softmax(h_t W_vocab + b_vocab)

    The image may also be an input of the cell (see `captioner.model.image_input`), and h_t may attend to the regions of
    the image before the output layer (see `captioner.layers.attention`). A model without attention ignores `regions`.

    `params` holds the parameters by CS231n's names; parameters and gradients have one float type. `smoothing` is the
    label smoothing of the training loss.

    Shapes: features (N, F) of any float type, captions (N, T) ids, regions of N rows and values (M, L, R).
    Raises: DataError when a parameter is missing or has an unexpected shape or type, or the regions are missing.
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
        region_standardizer: Standardizer | None = None,
    ) -> None:
        for name, shape in sizes.shapes().items():
            if name not in params or params[name].shape != shape:
                got = params[name].shape if name in params else "nothing"
                raise DataError(f"parameter {name}: expected {shape}, got {got}")
        if params.keys() != sizes.shapes().keys() or len({w.dtype for w in params.values()}) > 1:
            kinds = {name: str(w.dtype) for name, w in params.items()}
            raise DataError(f"parameters: expected {', '.join(sizes.shapes())} of one float type, got {kinds}")
        self.sizes = sizes
        # A fixed order, whatever the order of the file or dict: sums over parameters are bit-identical.
        self.params = {name: params[name] for name in sizes.shapes()}
        self.null = null
        self.dropout = dropout
        self.standardizer = standardizer
        self.region_standardizer = region_standardizer
        self.smoothing = smoothing
        self.cell = CELLS[sizes.cell]

    def with_params(self, params: Params) -> CaptioningRNN:
        """Return the same model with other parameters."""
        options = self.null, self.dropout, self.standardizer, self.smoothing, self.region_standardizer
        return CaptioningRNN(self.sizes, params, *options)

    @property
    def dtype(self) -> np.dtype[np.floating]:
        return self.params["Wh"].dtype

    @property
    def parameter_count(self) -> int:
        return sum(w.size for w in self.params.values())

    @property
    def attends(self) -> bool:
        """Whether the model attends to image regions."""
        return self.sizes.attends

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
        row_weights = np.ones(len(states.captions), self.dtype) if weights is None else weights[states.captions]
        count = len(captions if part is None else part.lengths)
        scale = (row_weights / count).astype(self.dtype)
        losses, nll, dscores, db_vocab = self._cross_entropy(states, scale, self.smoothing, pool)
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
        W_vocab = self.params["W_vocab"]
        dhidden = pool.matmul(dscores, W_vocab.T, np.empty(states.hidden.shape, self.dtype))
        dW_vocab = pool.matmul(states.hidden.T, dscores, np.empty(W_vocab.shape, self.dtype))
        grads = teacher_forced_backward(self.cell, dhidden, states, pool)
        grads |= {"W_vocab": dW_vocab, "b_vocab": db_vocab}
        return {name: grads[name] for name in self.params}

    def word_losses(
        self, features: Array, captions: Array, pool: ThreadPool = SERIAL, regions: SharedRows | None = None
    ) -> Array:
        """Compute the negative log-probability of each unmasked word, without dropout; the order is unspecified.

        Shapes: features (N, F), captions (N, T) -> (S,), S unmasked words.
        """
        states = self._teacher_force(features, captions, None, False, pool, regions)
        return self._cross_entropy(states, np.ones(len(states.captions), self.dtype), 0.0, pool)[0]

    def attention_weights(
        self, features: Array, captions: Array, regions: SharedRows | None, pool: ThreadPool = SERIAL
    ) -> Array:
        """Compute the attention weights with which each target word is predicted, by teacher forcing.

        weights[n, t] are those of the prediction of captions[n, t + 1]: of the L regions, then of the sentinel. They
        are 0 after the end of a caption.

        Shapes: features (N, F), captions (N, T) -> (N, T - 1, L + 1).
        Raises: DataError for a model without attention.
        """
        states = self._teacher_force(features, captions, None, False, pool, regions)
        if states.attention is None:
            raise DataError("attention weights: expected a model with attention, got one with model.attention none")
        return states.packing.unpack(states.attention.attention.weights, captions.shape[1] - 1)

    def start(self, features: Array, regions: SharedRows | None = None) -> State:
        """Return the state before the first word.

        Shapes: features (N, F) -> arrays (N, H), a context (N, G, H) for the image input `every`, and with attention
        the keys of the images as N rows with values (M, L, A).
        """
        image_input = IMAGE_INPUTS[self.sizes.image]
        state = start_forward(image_input, self.cell, self.params, self._image(features))[0]
        regions = self._regions(regions)
        return state if regions is None else (*state, image_keys(self.params, regions))

    def for_inference(self) -> InferenceModel:
        """Copy the current weights, packed for repeated steps."""
        return InferenceModel(self.cell, self.params, self.attends)

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
    ) -> TeacherForced:
        return teacher_forced_forward(
            self.cell,
            self.params,
            IMAGE_INPUTS[self.sizes.image],
            self._image(features),
            captions,
            self.null,
            self.dropout,
            rng,
            save_for_backward,
            pool,
            self._regions(regions),
            part,
        )

    def _cross_entropy(
        self, states: TeacherForced, scale: Array, smoothing: float, pool: ThreadPool
    ) -> tuple[Array, Array, Array, Array]:
        p = self.params
        return output_cross_entropy(states.hidden, states.targets, p["W_vocab"], p["b_vocab"], scale, smoothing, pool)
