"""Overfit a few captions: the exercise of CS231n's assignment 3 that checks a model and its optimizer."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np

from captioner.config.option_table import OPTIONS
from captioner.config.options import Config
from captioner.errors import UsageError
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.training.events import Event, Validated, Warned
from captioner.training.run_folder import RunFolder
from captioner.training.solver import Batches, Step, steps
from captioner.training.train import Training, new_training

GOAL = 0.1
"""The loss per caption to reach: summed over words and divided by captions, as the assignment prints it."""
SETTINGS = (
    "data.captions=null",
    "data.max_captions_per_image=1",  # no model can predict two captions of one image
    *(f"{path}=0" for path in OPTIONS if path.startswith("model.dropout_")),
    "train.objective=cross_entropy",
    "train.init_from=null",
    "train.epochs=1000000",
    "train.max_steps=1000",
    "train.label_smoothing=0",
    "train.ema_decay=null",
    "train.weight_decay=0",
    "train.schedule=constant",
    "train.lr_decay=1",
    "train.warmup_steps=0",
    "train.patience=null",
    "validate.split=train",
    "validate.max_captions=null",
    "validate.score_every=null",
    "validate.best_metric=loss",
    "decode.consensus=0",
)
"""Overrides that make a config overfit: nothing regularizes, and the learning rate is constant."""


def overfit_settings(captions: int) -> tuple[str, ...]:
    """Return the overrides for overfitting `captions` captions."""
    return (*SETTINGS, f"data.max_train={captions}")


def overfit(
    config: Config,
    folder: str | os.PathLike[str],
    overwrite: bool = False,
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = SINGLE_PROCESS,
) -> Iterator[Event]:
    """Train a new model, as `train`, until its loss per training caption is below `GOAL` or the steps are done.

    The training captions are those of the config, which should have the `overfit_settings`. The only checkpoint is that
    of the last step. The summary gets an entry `overfit`, with `captions`, `loss` and `passed`.

    Raises: as `train`; UsageError when there are fewer training captions than `data.max_train`.
    """
    training = new_training(config, RunFolder(Path(folder), ranks), Overfitting)
    captions, expected = len(training.corpus.split("train").captions), config.data.max_train
    if expected is not None and captions < expected:
        raise UsageError(
            f"overfitting: expected at least {expected:,} training images with captions, got {captions:,}; "
            f"try --overfit {captions}"
        )
    training.create(overwrite)
    yield from training.events(stop)


class Overfitting(Training):
    """Training that measures the loss of all training captions when that of a batch is low, and ends when it is low."""

    def _run(self, batches: Batches, stop: Callable[[], bool]) -> Generator[Step | Validated | Warned, None, str]:
        for step in steps(self.model, batches, self.state, self.plan, self.watch, self.pool, self.ranks.all_reduce):
            self.words += step.words
            yield step
            at_end, should_stop = step.step == self.plan.span.total_steps, stop()
            is_logged = step.step % self.config.train.log_every == 0
            passed = self._measure(step, at_end or should_stop)
            if is_logged or passed or at_end:
                self.recorder.log("step", step.record(), at_end=not is_logged)
            if passed or at_end or should_stop:
                validated = self._record(step, self.validation.loss(self.recorder.eval_model), False, at_end=True)
                with self.watch("saving"):
                    self.recorder.save()
                yield validated
                return "stopped" if should_stop else "done"
        raise AssertionError("the last step ends the loop")

    def _measure(self, step: Step, always: bool) -> bool:
        """Return whether the loss of all training captions is low; measure it only if that of the batch is."""
        if not always and step.loss >= GOAL:
            return False
        train = self.corpus.split("train")
        with self.watch("validation"):
            word_loss = self.validation.loss_of(train, self.recorder.eval_model)
        words = int(np.count_nonzero(train.captions[:, 1:] != self.corpus.vocab.null))
        loss = word_loss * words / len(train.captions)
        self.outcome = {"overfit": {"captions": len(train.captions), "loss": loss, "passed": loss < GOAL}}
        return loss < GOAL
