"""Overfit a few captions: a check of model and optimizer, as in CS231n."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from captioner.config.option_table import OPTIONS, write
from captioner.config.options import GUIDED, Config
from captioner.config.overrides import NONE, Values, override
from captioner.data.batches import Batches
from captioner.errors import ConfigError
from captioner.training.run import Run
from captioner.training.solver import steps
from captioner.training.train import Event, record_validation, train

GOAL = 0.1
"""The loss per caption to reach: summed over words and divided by captions, as the assignment prints it."""
LIMITS: Values = {"train.epochs": 1_000_000, "train.max_steps": 1000}
"""What a config file is overridden with, unless the command line sets it."""
SETTINGS: Values = {
    "data.captions": None,
    "data.max_captions_per_image": 1,  # no model can predict two captions of one image
    **{path: 0.0 for path in OPTIONS if path.startswith("model.dropout_")},
    "train.objective": "cross_entropy",
    "train.label_smoothing": 0.0,
    "train.ema_decay": None,
    "train.weight_decay": 0.0,
    "train.schedule": "constant",
    "train.lr_decay": 1.0,
    "train.warmup_steps": 0.0,
    "train.patience": None,
    "validate.split": "train",
    "validate.score_every": None,
    "validate.best_metric": "loss",
    **{f"decode.{name}": 0.0 for name in GUIDED},
}
"""Options of any config that overfits: nothing regularizes, and the learning rate is constant."""


def overfit_config(config: Config, captions: int, overrides: Values = NONE) -> Config:
    """Return a config for overfitting `captions` captions. Other values than `SETTINGS` in its file cause a warning;
    those of `LIMITS` are replaced.

    Raises: ConfigError with one line per override of another value.
    """
    settings = {**SETTINGS, "data.max_train": captions}
    given = {path: attrgetter(path)(config) for path in settings if path in config.given}
    others = {path: value for path, value in given.items() if value != settings[path]}
    if problems := [
        f"-o {path}={write(OPTIONS[path], value)}: has no effect on train --overfit, which sets it to "
        f"{write(OPTIONS[path], settings[path])}; leave it out"
        for path, value in others.items()
        if path in overrides
    ]:
        raise ConfigError(problems)
    config = override(config, {**LIMITS, **overrides, **settings})
    ignored = {"--overfit": f"--overfit: ignored: {', '.join(others)}"} if others else {}
    return replace(config, ignored={**config.ignored, **ignored})


def overfit_steps(run: Run, batches: Batches, stop: Callable[[], bool]) -> Generator[Event, None, dict[str, Any]]:
    """Train until the loss of all training captions is low, which is measured when that of a batch is low."""
    train, loss = run.corpus.split("train"), math.inf
    words = int(np.count_nonzero(train.captions[:, 1:] != run.corpus.vocab.null))
    for step in steps(run.model, batches, run.state, run.plan, run.watch, run.pool, run.ranks.all_reduce):
        run.words += step.words
        yield step
        should_stop = stop()
        is_last = should_stop or step.step == run.plan.span.total_steps
        if is_last or step.loss < GOAL:
            with run.watch("validation"):
                word_loss = run.validation.loss_of(train, run.eval_model)
            loss = word_loss * words / len(train.captions)
        is_last |= loss < GOAL
        is_logged = step.step % run.config.train.log_every == 0
        if is_logged or is_last:
            run.log("step", step.record(), at_end=not is_logged)
        if is_last:
            validated = record_validation(run, step, word_loss, scored=False, at_end=True)
            with run.watch("saving"):
                run.save()
            yield validated
            break
    outcome = {"captions": len(train.captions), "loss": loss, "passed": loss < GOAL}
    return {"ended": "stopped" if should_stop else "done", "overfit": outcome}


overfit = partial(train, loop=overfit_steps)
"""Train a model in a new run, as `train`, until its loss per training caption is below `GOAL` or the steps are done.

The training captions are those of the config, which should be an `overfit_config`. The only checkpoint is that of
the last step, last.h5. The record of the end has `overfit`, with `captions`, `loss` and `passed`.
"""
