"""Decoding: from a model that tells the next word's log-probabilities to whole captions.

A decoder knows the model only as `step(tokens, state) -> log_probs, state`, and returns tokens (N, K, T) with the
model's own natural log-probabilities of the captions (N, K): what forbids, ranks or draws changes the choice alone.
"""

from captioner.decode.beam import beam
from captioner.decode.consensus import Reranker, rank
from captioner.decode.constraints import FREE, Constraints
from captioner.decode.greedy import greedy
from captioner.decode.sampling import sample
from captioner.model.ensemble import Ensemble
from captioner.model.state import State, StepFunction

__all__ = [
    "FREE",
    "Constraints",
    "Ensemble",
    "Reranker",
    "State",
    "StepFunction",
    "beam",
    "greedy",
    "rank",
    "sample",
]
