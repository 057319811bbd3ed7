"""The interface between models and decoding methods, and CaptioningModel: what all decoders share, from packed captions
to the loss and the gradients of all parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, Self, TypeAlias

import numpy as np

from captioner.arrays import Array, Batch, Params, SharedRows
from captioner.errors import DataError
from captioner.layers.dropout import NO_DROPOUT, Dropout, row_dropout_backward, row_dropout_forward
from captioner.model.image_input import Standardizer
from captioner.model.losses import Losses, OutputCache, output_backward, output_forward
from captioner.model.parameters import Shapes, Sizes
from captioner.model.words import Inputs, PackedWords, inputs_backward, inputs_forward, pack_words
from captioner.parallel.ranks import Reduce, identity
from captioner.parallel.thread_pool import SERIAL, ThreadPool

State: TypeAlias = tuple[Any, ...]
"""The state of a batch of captions: arrays or `SharedRows` with one row per caption, or nested tuples of them."""

StepFunction: TypeAlias = Callable[[Array, State], tuple[Array, State]]
"""`step(tokens (N,), state) -> log_probs (N, V), state`; the caller may overwrite log_probs, until the next call."""


class StepModel(Protocol):
    """A model prepared for inference."""

    def step(self, tokens: Array, state: State, /) -> tuple[Array, State]: ...


class ModelOrEnsemble(Protocol):
    """A CaptioningModel or an ensemble."""

    @property
    def parameter_count(self) -> int: ...
    @property
    def attends(self) -> bool: ...
    def start(self, features: Array, regions: SharedRows | None = None) -> State: ...
    def for_inference(self) -> StepModel: ...
    def word_losses(self, batch: Batch, pool: ThreadPool = SERIAL) -> Array: ...
    def attention_weights(self, batch: Batch, pool: ThreadPool = SERIAL) -> Array: ...


def take_rows(state: State, rows: Array) -> State:
    """Select rows of a state by index or mask."""
    return tuple(take_rows(part, rows) if isinstance(part, tuple) else part[rows] for part in state)


def count_rows(state: State) -> int:
    """Return the number of rows of a state."""
    first = state[0]
    return count_rows(first) if isinstance(first, tuple) else len(first)


class TeacherForced(NamedTuple):
    """The words of a batch, and the output of the decoder for each after dropout, with the caches of both.

    Shapes: hidden, mask (P, H).
    """

    words: PackedWords
    inputs: Inputs
    hidden: Array
    mask: Array | None
    decoder: Any


LossCache: TypeAlias = tuple[TeacherForced, OutputCache]


class CaptioningModel(ABC):
    """An image captioning model: a decoder predicts each word of a caption from the image and the words before.

    log P(word_{t+1}) = log softmax(h_t W_vocab + b_vocab),   with h_t the output of the decoder for the words up to t

    `params` holds the parameters by name; parameters and gradients have one float type. `smoothing` is the label
    smoothing of the training loss. A model without attention ignores the regions of a batch. Features and regions may
    have any float type. The size of a pool affects floating-point rounding only.

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
        batch: Batch,
        words: PackedWords,
        inputs: Inputs,
        rng: np.random.Generator | None,
        save_for_backward: bool,
        pool: ThreadPool,
    ) -> tuple[Array, Any]:
        """Compute the output of the decoder at each packed word, and the cache for `_decode_backward`.

        The features and regions of `batch` are those after standardization and dropout.

        Shapes: -> (P, H).
        """

    @abstractmethod
    def _decode_backward(self, dhidden: Array, cache: Any, pool: ThreadPool) -> tuple[Array, Params]:
        """Compute the gradients of the inputs, and of the decoder's parameters.

        Shapes: dhidden (P, H) -> dvectors like the vectors of the inputs.
        """

    @abstractmethod
    def _row_attention(self, cache: Any) -> Array:
        """Return the attention weights of each packed word: those of the regions, then that of the sentinel.

        Shapes: -> (P, L + 1).
        """

    def loss(
        self, batch: Batch, rng: np.random.Generator | None = None, pool: ThreadPool = SERIAL
    ) -> tuple[float, Params]:
        """Compute the cross-entropy of the captions, summed over words and divided by N, and its gradients.

        loss = 1/N Σ_n weight_n Σ_t -log P(word_nt | words before, image n), with weights of 1 by default.

        `<NULL>` targets are masked. Dropout draws its noise from `rng`; without `rng` there is no dropout.
        """
        losses, cache = self.forward(batch, rng, pool)
        return losses.loss, self.backward(cache, pool)

    def forward(
        self, batch: Batch, rng: np.random.Generator | None = None, pool: ThreadPool = SERIAL
    ) -> tuple[Losses, LossCache]:
        """Compute the losses of a batch, or of the part of a rank, and the cache for `backward`."""
        states = self._teacher_force(batch, rng, pool)
        rows = states.words.packing.caption[states.words.is_target]
        weights = np.ones(len(rows), self.dtype) if batch.weights is None else batch.weights[rows]
        scale = (weights / batch.size).astype(self.dtype)
        losses, nll, output = output_forward(self.params, states.hidden, states.words, scale, self.smoothing, pool)
        result = Losses(
            loss=float(np.vdot(losses.astype(np.float64), weights)) / batch.size,
            words=len(losses),
            trained_sum=float(losses.sum(dtype=np.float64)),
            nll_sum=float(nll.sum(dtype=np.float64)),
        )
        return result, (states, output)

    def backward(self, cache: LossCache, pool: ThreadPool = SERIAL) -> Params:
        """Compute the gradients of `forward`'s loss for all parameters."""
        dvectors, grads = self._backward(cache, pool)
        grads["W_embed"] = inputs_backward(dvectors, cache[0].inputs)
        return {name: grads[name] for name in self.params}

    def _backward(self, cache: LossCache, pool: ThreadPool) -> tuple[Array, Params]:
        """Compute the gradients of the inputs of the decoder, and of all parameters but W_embed."""
        states, output = cache
        dhidden, of_output = output_backward(output, pool)
        dvectors, grads = self._decode_backward(row_dropout_backward(dhidden, states.mask), states.decoder, pool)
        return dvectors, grads | of_output

    def input_gradients(self, batch: Batch) -> Array:
        """Compute the gradient of each caption's last word's loss with respect to the embedded words before it.

        Shapes: captions (N, T + 1) -> (N, T, D).
        """
        states = self._teacher_force(batch, None, SERIAL, shares_inputs=False)
        words, steps = states.words, batch.captions.shape[1] - 1
        scale = (words.packing.time[words.is_target] == steps - 1).astype(self.dtype)
        _, _, output = output_forward(self.params, states.hidden, words, scale, 0.0, SERIAL)
        return words.packing.unpack(self._backward((states, output), SERIAL)[0], steps)

    def word_losses(self, batch: Batch, pool: ThreadPool = SERIAL) -> Array:
        """Compute the negative log-probability of each unmasked word, without dropout, by caption and time step.

        Shapes: -> (S,), S unmasked words.
        """
        states = self._teacher_force(batch, None, pool, save_for_backward=False)
        words, scale = states.words, np.ones(len(states.words.targets), self.dtype)
        losses, *_ = output_forward(self.params, states.hidden, words, scale, 0.0, pool)
        return losses[np.lexsort((words.packing.time[words.is_target], words.packing.caption[words.is_target]))]

    def attention_weights(self, batch: Batch, pool: ThreadPool = SERIAL) -> Array:
        """Compute the attention weights with which each target word is predicted, by teacher forcing.

        weights[n, t] are those of the prediction of captions[n, t + 1]: of the L regions, then of the sentinel. They
        are 0 after the end of a caption.

        Shapes: captions (N, T) -> (N, T - 1, L + 1).
        Raises: DataError for a model without attention.
        """
        if not self.attends:
            raise DataError("attention weights: expected a model with attention, got one with model.attention none")
        states = self._teacher_force(batch, None, pool, save_for_backward=False)
        return states.words.packing.unpack(self._row_attention(states.decoder), batch.captions.shape[1] - 1)

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
        batch: Batch,
        rng: np.random.Generator | None,
        pool: ThreadPool,
        save_for_backward: bool = True,
        shares_inputs: bool = True,
    ) -> TeacherForced:
        """Feed each caption's words to the decoder; noise is drawn for features, words and regions in this order."""
        batch = batch._replace(features=self._image(batch.features), regions=self._regions(batch.regions))
        words, rates = pack_words(batch, self.null, pool.size, self.groups_captions), self.dropout
        features, _ = row_dropout_forward(batch.features, rates.features, rng, words.captions, pool)
        shares = self.shares_inputs and shares_inputs
        inputs = inputs_forward(words, self.params["W_embed"], rates.words, rng, shares, pool)
        regions = batch.regions
        if regions is not None:
            values, _ = row_dropout_forward(regions.values, rates.regions, rng, words.images, pool)
            regions = SharedRows(values, regions.index)
        batch = batch._replace(features=features, regions=regions)
        hidden, decoder = self._decode(batch, words, inputs, rng, save_for_backward, pool)
        hidden, mask = row_dropout_forward(hidden, rates.hidden, rng, words.positions, pool)
        return TeacherForced(words, inputs, hidden, mask, decoder)


@np.errstate(over="ignore", invalid="ignore")
def mean_word_loss(
    model: ModelOrEnsemble, batches: Iterable[Batch], pool: ThreadPool = SERIAL, reduce: Reduce = identity
) -> float:
    """Compute the mean teacher-forced loss per word in nats over the batches of all ranks, without dropout."""
    total, words = 0.0, 0.0
    for batch in batches:
        if not len(batch.captions):  # the share of a rank may be empty
            continue
        losses = model.word_losses(batch, pool)
        total += float(losses.sum(dtype=np.float64))
        words += len(losses)
    total, words = map(float, reduce({"sums": np.array([total, words])})["sums"])
    return total / max(1.0, words)
