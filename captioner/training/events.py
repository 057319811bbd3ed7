"""What happens in a training, as it is told to whoever watches."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from captioner.config.options import Config
from captioner.data.corpus import Corpus
from captioner.model.perplexity import perplexity
from captioner.training.solver import Step


class Started(NamedTuple):
    """Everything is loaded; training goes from `step` to `total_steps`."""

    folder: Path
    config: Config
    corpus: Corpus
    parameters: int
    step: int
    total_steps: int
    steps_per_epoch: int


class Validated(NamedTuple):
    """The loss of a word on the validation split, and where it is time for them the scores of the model's captions."""

    step: int
    epoch: int
    loss: float
    scores: dict[str, float]
    best: bool

    @property
    def perplexity(self) -> float:
        return perplexity(self.loss)


class Warned(NamedTuple):
    """Something that does not stop a training, but that its user should know."""

    step: int
    problem: str


class Ended(NamedTuple):
    """Training is over; the summary is what stands in summary.json."""

    folder: Path
    summary: dict[str, Any]


Event = Started | Step | Validated | Warned | Ended
