"""Ensembles: models with one vocabulary whose probabilities are averaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captioner.arrays import Array, Batch, SharedRows
from captioner.model.captioning_model import ModelOrEnsemble, State, StepModel
from captioner.parallel.thread_pool import SERIAL, ThreadPool


class Ensemble:
    """An ensemble of M models, which averages the probabilities of each word given the same words before.

    P(word | words before) = 1/M Σ_m P_m(word | words before)

    The models must share vocabulary and input features. The state is the tuple of their states.
    """

    def __init__(self, members: Sequence[ModelOrEnsemble]) -> None:
        self.members = tuple(members)

    @property
    def parameter_count(self) -> int:
        return sum(model.parameter_count for model in self.members)

    @property
    def attends(self) -> bool:
        """Whether every model attends to image regions."""
        return all(model.attends for model in self.members)

    def start(self, features: Array, regions: SharedRows | None = None) -> State:
        """Return the states before the first word.

        Shapes: features (N, F), regions of N rows -> a state of N rows per model.
        """
        return tuple(model.start(features, regions) for model in self.members)

    def for_inference(self) -> InferenceEnsemble:
        """Prepare the models for inference."""
        return InferenceEnsemble([model.for_inference() for model in self.members])

    def word_losses(self, batch: Batch, pool: ThreadPool = SERIAL) -> Array:
        """Compute the negative log-probability of each unmasked word, in the order of `CaptioningModel.word_losses`.

        Shapes: -> (S,), S unmasked words.
        """
        return -log_mean([-model.word_losses(batch, pool) for model in self.members])

    def attention_weights(self, batch: Batch, pool: ThreadPool = SERIAL) -> Array:
        """Compute the mean of the models' attention weights, because their probabilities are averaged.

        Shapes: captions (N, T) -> (N, T - 1, L + 1).
        Raises: DataError for a model without attention.
        """
        weights = [model.attention_weights(batch, pool) for model in self.members]
        mean: Array = np.mean(weights, axis=0)
        return mean


class InferenceEnsemble:
    """An ensemble prepared for inference; each thread needs its own."""

    def __init__(self, models: Sequence[StepModel]) -> None:
        self._models = tuple(models)

    def step(self, tokens: Array, state: State) -> tuple[Array, State]:
        """Feed one word per caption and return the log-probabilities of the next, valid until the next call.

        Shapes: tokens (N,) ids, a state per model -> log_probs (N, V), states.
        """
        results = [model.step(tokens, member_state) for model, member_state in zip(self._models, state, strict=True)]
        return log_mean([log_probs for log_probs, _ in results]), tuple(member_state for _, member_state in results)


def log_mean(log_probs: Sequence[Array]) -> Array:
    """Compute log 1/M Σ_m exp(log P_m) elementwise, without underflow, in the widest of the float types.

    Shapes: M arrays (...) -> (...).
    """
    maximum = log_probs[0].astype(np.result_type(*log_probs))
    for member in log_probs[1:]:
        np.maximum(maximum, member, out=maximum)
    total = np.zeros_like(maximum)
    for member in log_probs:
        total += np.exp(member - maximum)
    total /= len(log_probs)
    maximum += np.log(total, out=total)
    return maximum
