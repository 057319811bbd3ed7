"""Events that `train` and `resume` yield, and the speed of training from them."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from captioner.config.options import Config
from captioner.data.corpus import Corpus
from captioner.model.losses import perplexity
from captioner.training.solver import Step


class Captioned(NamedTuple):
    """The progress of distillation: teachers with this beam width have captioned `images` of all training images."""

    folder: Path
    images: int
    total: int
    teachers: list[str]
    beam_width: int


class Started(NamedTuple):
    """The start of training, after loading: from `step` to `total_steps`.

    `initialization` has the checkpoint of `train.init_from` and the numbers of shared, of all and of dropped words.
    """

    folder: Path
    config: Config
    corpus: Corpus
    parameters: int
    step: int
    total_steps: int
    steps_per_epoch: int
    initialization: dict[str, Any] | None


class Validated(NamedTuple):
    """A validation: the mean word loss, and the scores of generated captions if they are due."""

    step: int
    epoch: int
    loss: float
    scores: dict[str, float]
    best: bool

    @property
    def perplexity(self) -> float:
        return perplexity(self.loss)


class Warned(NamedTuple):
    """A problem that does not stop training."""

    step: int
    problem: str


class Ended(NamedTuple):
    """The end of training, with the content of summary.json."""

    folder: Path
    summary: dict[str, Any]


Event = Captioned | Started | Step | Validated | Warned | Ended


class SpeedMeter:
    """Words per second of wall-clock time since the last restart."""

    def __init__(self) -> None:
        self._words, self._since = 0, perf_counter()

    def add(self, words: int) -> None:
        """Count words."""
        self._words += words

    def restart(self) -> float:
        """Return the words per second, and restart the count."""
        rate = self._words / max(perf_counter() - self._since, 1e-9)
        self._words, self._since = 0, perf_counter()
        return rate
