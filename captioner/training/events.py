"""Events that `train` and `resume` yield."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from captioner.config.options import Config
from captioner.data.corpus import Corpus
from captioner.model.losses import perplexity
from captioner.training.solver import Step


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


Event = Started | Step | Validated | Warned | Ended
