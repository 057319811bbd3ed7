"""Decoders: greedy, beam search and sampling, with constraints and consensus re-ranking.

A decoder uses a model only through `step(tokens, state) -> log_probs, state`. It returns tokens (N, K, T) and the
natural log-probabilities of the captions (N, K) under the model itself: constraints, length normalization, temperature
and truncation affect which words are chosen, not the returned scores.
"""

from captioner.decode.beam import beam
from captioner.decode.consensus import Reranker, rerank
from captioner.decode.constraints import UNCONSTRAINED, Constraints
from captioner.decode.greedy_and_sampling import greedy, sample

__all__ = [
    "UNCONSTRAINED",
    "Constraints",
    "Reranker",
    "beam",
    "greedy",
    "rerank",
    "sample",
]
