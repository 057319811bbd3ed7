"""Checks that every timed contender computes the right result, with their tolerances."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Params

SCORE, TIE = 1e-3, 1e-4
"""Tolerances of the log-probabilities of captions and of words."""


class Tolerance(NamedTuple):
    """Tolerances of a loss, relative, of a gradient, relative to its largest entry, and of the decrease of the loss."""

    loss: float
    gradient: float
    decrease: float


FLOAT32, BFLOAT16 = Tolerance(1e-5, 1e-4, 0.2), Tolerance(1e-3, 5e-2, np.inf)
"""A bfloat16 number has 8 significant bits, so its relative rounding error is up to 4e-3.

The decreases differ because nn.LSTM and nn.RNN also train a second bias, and because of dropout.
"""


class WrongResultError(Exception):
    """A contender's result differs from the reference."""


def within(what: str, error: float, maximum: float) -> None:
    """Raises: WrongResultError if the error is above `maximum` or NaN."""
    if not error <= maximum:
        raise WrongResultError(f"{what}: expected an error of at most {maximum:g}, got {error:g}")


def same_loss(name: str, got: float, expected: float, tolerance: Tolerance = FLOAT32) -> None:
    within(f"{name}: loss", abs(got - expected) / abs(expected), tolerance.loss)


def same_gradients(
    name: str, got: tuple[float, Params], expected: tuple[float, Params], tolerance: Tolerance = FLOAT32
) -> None:
    """Compare a loss and all its gradients. Raises: WrongResultError."""
    same_loss(name, got[0], expected[0], tolerance)
    if missing := expected[1].keys() ^ got[1].keys():
        raise WrongResultError(f"{name}: only one side has gradients of {', '.join(sorted(missing))}")
    for key, want in expected[1].items():
        within(f"{name}: gradient of {key}", np.abs(got[1][key] - want).max() / np.abs(want).max(), tolerance.gradient)


def same_decrease(name: str, got: float, expected: float, tolerance: Tolerance = FLOAT32) -> None:
    """Compare the decreases of the loss in two steps; both are above 0. Raises: WrongResultError."""
    error = abs(got / expected - 1) if min(got, expected) > 0 else np.nan
    within(f"{name}: decrease of the loss in two steps, relative", error, tolerance.decrease)


def same_captions(name: str, got: Array, expected: Array, score: Callable[[Array, Array], Array]) -> int:
    """Count the captions that differ after a tie, that is, at two words with equal log-probability after one prefix.

    Shapes: got, expected (N, T) ids; score: images (n,), tokens (n, K, t) -> log-probabilities (n, K).
    Raises: WrongResultError for a caption that differs without a tie.
    """
    different = np.flatnonzero((got != expected).any(axis=1))
    for image in different:
        position = int((got[image] != expected[image]).argmax()) + 1
        both = np.stack((got[image, :position], expected[image, :position]))
        within(f"{name}: word {position} of caption {image}", np.ptp(score(np.array([image]), both[None])), TIE)
    return len(different)


def same_scores(name: str, got: Array, expected: Array) -> None:
    """Compare log-probabilities of captions, -inf for no caption. Raises: WrongResultError."""
    captions = ~np.isneginf(got)
    if not captions.any():
        raise WrongResultError(f"{name}: expected captions, got none")
    within(f"{name}: log-probability", np.abs(got[captions] - expected[captions]).max(), SCORE)
