"""Several models of one vocabulary that speak as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from captioner.arrays import Array
from captioner.model.inference_step import Readable, Steps
from captioner.model.state import State
from captioner.parallel.buffers import Workspace
from captioner.parallel.thread_pool import SERIAL, ThreadPool


class Member(Readable, Protocol):
    """What an ensemble needs of a model: a CaptioningRNN, or another ensemble."""

    def word_losses(
        self, features: Array, captions: Array, workspace: Workspace | None = None, pool: ThreadPool = SERIAL
    ) -> Array: ...


class Ensemble:
    """Models whose probabilities are averaged at every word, the words before being the same for all.

    P(word | words before) = 1/M Σ_m P_m(word | words before)

    They may differ in all but the vocabulary and the features they take. The state is the tuple of their states.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)

    def start(self, features: Array) -> State:
        """The states before the first word.

        Shapes: features (N, F) -> a state of N rows for every member.
        """
        return tuple(member.start(features) for member in self.members)

    def reader(self) -> EnsembleReader:
        """The members laid out for decoding."""
        return EnsembleReader([member.reader() for member in self.members])

    def word_losses(
        self, features: Array, captions: Array, workspace: Workspace | None = None, pool: ThreadPool = SERIAL
    ) -> Array:
        """The negative log-probability of every unmasked word; all members tell them in the same order.

        Shapes: features (N, F), captions (N, T) -> (S,), S unmasked words.
        """
        losses = [member.word_losses(features, captions, workspace, pool) for member in self.members]
        return -log_mean([-one for one in losses])


class EnsembleReader:
    """The readers of an ensemble's members; as each of them, it is for one thread."""

    def __init__(self, readers: Sequence[Steps]) -> None:
        self._readers = tuple(readers)

    def step(self, tokens: Array, state: State) -> tuple[Array, State]:
        """Read one word of every caption and tell the log-probabilities of the next, which stand until the next call.

        Shapes: tokens (N,) ids, a state for every member -> log_probs (N, V), the states.
        """
        told = [reader.step(tokens, own) for reader, own in zip(self._readers, state, strict=True)]
        return log_mean([log_probs for log_probs, _ in told]), tuple(own for _, own in told)


def log_mean(log_probs: Sequence[Array]) -> Array:
    """log 1/M Σ_m exp(log P_m), element by element and without underflow, in the finest of their precisions.

    Shapes: M arrays (...) -> (...).
    """
    most = log_probs[0].astype(np.result_type(*log_probs))
    for one in log_probs[1:]:
        np.maximum(most, one, out=most)
    total = np.zeros_like(most)
    for one in log_probs:
        total += np.exp(one - most)
    total /= len(log_probs)
    most += np.log(total, out=total)
    return most
