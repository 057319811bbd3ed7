"""A time counts only when the result is right: what is compared, and how closely."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from captioner.arrays import Array, Params

LOSS, GRADIENT, SCORE, TIE = 1e-5, 1e-4, 1e-3, 1e-4
"""Relative; relative to the largest entry; and differences of log-probabilities, of captions and of words."""


class WrongResultError(Exception):
    """A contender computes something else than the others."""


def within(what: str, error: float, most: float) -> None:
    """Raises: WrongResultError for an error that is too large, or no number."""
    if not error <= most:
        raise WrongResultError(f"{what}: expected an error of at most {most:g}, got {error:g}")


def same_loss(name: str, got: float, expected: float) -> None:
    within(f"{name}: loss", abs(got - expected) / abs(expected), LOSS)


def same_gradients(name: str, got: tuple[float, Params], expected: tuple[float, Params]) -> None:
    """The loss and all the gradients of it. Raises: WrongResultError."""
    same_loss(name, got[0], expected[0])
    if missing := expected[1].keys() ^ got[1].keys():
        raise WrongResultError(f"{name}: one side alone has gradients of {', '.join(sorted(missing))}")
    for key, want in expected[1].items():
        within(f"{name}: gradient of {key}", np.abs(got[1][key] - want).max() / np.abs(want).max(), GRADIENT)


def learns(name: str, first: float, last: float) -> None:
    """Raises: WrongResultError when the loss has not fallen over the steps that were timed."""
    if not last < first:
        raise WrongResultError(f"{name}: expected a loss below {first:.7g} after training, got {last:.7g}")


def same_captions(name: str, got: Array, expected: Array, score: Callable[[Array, Array], Array]) -> int:
    """The number of captions that part at a tie: at two words that are equally likely after the same beginning.

    Shapes: got, expected (N, T) ids; score: images (n,), tokens (n, K, t) -> log-probabilities (n, K).
    Raises: WrongResultError for a caption that differs otherwise.
    """
    different = np.flatnonzero((got != expected).any(axis=1))
    for image in different:
        parting = int((got[image] != expected[image]).argmax()) + 1
        both = np.stack((got[image, :parting], expected[image, :parting]))
        within(f"{name}: word {parting} of caption {image}", np.ptp(score(np.array([image]), both[None])), TIE)
    return len(different)


def same_scores(name: str, got: Array, expected: Array) -> None:
    """Log-probabilities of captions, -inf where there is none. Raises: WrongResultError."""
    found = ~np.isneginf(got)
    within(f"{name}: log-probability", np.abs(got[found] - expected[found]).max(initial=0), SCORE)
