"""The assignment's `cs231n/classifiers/rnn.py`: CaptioningRNN."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from captioner.arrays import Array, Batch, Params
from captioner.decode import greedy
from captioner.layers import CELLS
from captioner.model.build import initial_params
from captioner.model.captioning_rnn import CaptioningRNN as Model
from captioner.model.parameters import Sizes

__all__ = ["CaptioningRNN"]


class CaptioningRNN:
    """The captioning model with the assignment's interface; arrays of `params` may be replaced.

    For `loss` alone, `word_to_idx` may lack `<START>` and `<END>`, and ids may exceed V - 1.

    Raises: ValueError for an unsupported cell_type.
    """

    def __init__(
        self,
        word_to_idx: Mapping[str, int],
        input_dim: int = 512,
        wordvec_dim: int = 128,
        hidden_dim: int = 128,
        cell_type: str = "rnn",
        dtype: type = np.float32,
    ) -> None:
        if cell_type not in CELLS:
            raise ValueError(f'Invalid cell_type "{cell_type}"')
        self.cell_type = cell_type
        self.dtype = dtype
        self.word_to_idx = word_to_idx
        self.idx_to_word = {i: w for w, i in word_to_idx.items()}
        self._null = word_to_idx["<NULL>"]
        self._start = word_to_idx.get("<START>")
        self._end = word_to_idx.get("<END>")
        sizes = Sizes(len(word_to_idx), input_dim, wordvec_dim, hidden_dim, cell_type)
        self._model = Model(sizes, initial_params(sizes, lambda shape: np.random.randn(*shape), dtype), self._null)

    @property
    def params(self) -> Params:
        return self._model.params

    @params.setter
    def params(self, params: Params) -> None:
        self._model.params = params

    def loss(self, features: Array, captions: Array) -> tuple[float, Params]:
        """Compute the loss of a batch and its gradients.

        Shapes: features (N, F), captions (N, T) -> loss, grads like params.
        """
        return self._model.loss(Batch(features, captions))

    def sample(self, features: Array, max_length: int = 30) -> Array:
        """Decode greedily: the argmax over all words at each step, none suppressed.

        Shapes: features (N, F) -> (N, max_length) int32; the first column is the first word after `<START>`.
        Raises: ValueError when the vocabulary lacks `<START>` or `<END>`.
        """
        if self._start is None or self._end is None:
            raise ValueError("sample needs <START> and <END> in word_to_idx")
        tokens, _ = greedy(
            self._model.for_inference().step,
            self._model.start(features),
            start=self._start,
            end=self._end,
            null=self._null,
            max_length=max_length,
        )
        return tokens[:, 0]
