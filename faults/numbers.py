"""NaN and infinity in features, losses, gradients or parameters at any training step."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import captioner.training.solver
from captioner.config.yaml_io import parse
from captioner.data.batches import ShuffledBatches
from captioner.errors import DivergenceError
from captioner.inference.find_checkpoint import LAST
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.storage import checkpoint
from captioner.training.train import train
from faults import watch
from faults.session import SMALL, Row, Session, row
from faults.watch import Outcome

STEPS = 8
NAMES = ("W_proj", "b_proj", "W_embed", "Wx", "Wh", "b", "W_vocab", "b_vocab")
Plant = Callable[[int, float, np.random.Generator], tuple[Any, str, Any, str]]
"""(step, number, generator) -> owner, attribute name, replacement, and text that the message must contain."""


def _features(step: int, number: float, rng: np.random.Generator) -> tuple[Any, str, Any, str]:
    real, row, column = ShuffledBatches.batch, int(rng.integers(16)), int(rng.integers(100))

    def batch(self: ShuffledBatches, at: int) -> Any:
        batch = real(self, at)
        if at == step - 1:
            features = batch.features.copy()
            features[row % len(features), column] = number
            batch = batch._replace(features=features)
        return batch

    return ShuffledBatches, "batch", batch, "features of 1 of"


def _loss(step: int, number: float, rng: np.random.Generator) -> tuple[Any, str, Any, str]:
    real, calls = CaptioningRNN.forward, [0]

    def forward(self: CaptioningRNN, *args: Any, **options: Any) -> Any:
        losses, cache = real(self, *args, **options)
        calls[0] += 1
        return (losses._replace(loss=number, trained_sum=number) if calls[0] == step else losses), cache

    return CaptioningRNN, "forward", forward, "expected a loss of at most"


def _gradient(step: int, number: float, rng: np.random.Generator) -> tuple[Any, str, Any, str]:
    real, calls, name, place = CaptioningRNN.backward, [0], NAMES[int(rng.integers(len(NAMES)))], rng.random()

    def backward(self: CaptioningRNN, *args: Any, **options: Any) -> Any:
        grads = real(self, *args, **options)
        calls[0] += 1
        if calls[0] == step:
            grads[name].flat[int(place * grads[name].size)] = number
        return grads

    return CaptioningRNN, "backward", backward, f"gradients {name};"


def _parameter(step: int, number: float, rng: np.random.Generator) -> tuple[Any, str, Any, str]:
    real, name, place = captioner.training.solver.update, NAMES[int(rng.integers(len(NAMES)))], rng.random()

    def update(rule: Any, params: Any, grads: Any, slots: Any, hyper: Any, t: int, *rest: Any) -> None:
        real(rule, params, grads, slots, hyper, t, *rest)
        if t == step:
            params[name].flat[int(place * params[name].size)] = number

    return captioner.training.solver, "update", update, f"parameters {name};"


PLANTS: Mapping[str, Plant] = {
    "a feature": _features,
    "the loss": _loss,
    "a gradient": _gradient,
    "a parameter": _parameter,
}


@contextmanager
def planted(plant: Plant, step: int, number: float, rng: np.random.Generator) -> Iterator[str]:
    """Inject a non-finite number at a step; yield the text that the error message must contain."""
    owner, name, by, message = plant(step, number, rng)
    with mock.patch.object(owner, name, by):
        yield message


def train_planted(folder: Path, seed: int, trial: int) -> Outcome:
    """Trial k injects a non-finite number at a random step."""
    rng = np.random.default_rng((seed, trial, 6))
    name, step = list(PLANTS)[trial % len(PLANTS)], int(rng.integers(1, STEPS + 1))
    number = float(rng.choice((np.nan, np.inf, -np.inf)))
    if name == "the loss" and number < 0:
        number = np.nan  # below every bound
    run = folder / f"planted-{os.getpid()}"
    shutil.rmtree(run, ignore_errors=True)
    config = parse("", "", [*SMALL, "train.save_every=1", f"train.max_steps={STEPS}"])
    try:
        with planted(PLANTS[name], step, number, rng) as message:
            for _ in train(config, run):
                pass
    except DivergenceError as error:
        kept = f"{run / LAST} contains step {step - 1}, before the divergence" if step > 1 else "no checkpoint yet"
        text = str(error)
        if not (text.startswith(f"step {step}: ") and message in text and text.endswith(f"; {kept}")):
            return Outcome("wrong", f"{name}, {number} at step {step}: {text}")
        if not re.search("; (try|they were finite)", text):
            return Outcome("wrong", f"suggests nothing: {text}")
    else:
        return Outcome("silent", f"{name}, {number} at step {step}")
    if step > 1 and checkpoint.load(run / LAST).meta.step != step - 1:
        return Outcome("wrong", f"{name}: not the checkpoint of the step before")
    return Outcome("stopped at that step")


def measure(session: Session) -> Iterator[Row]:
    tally = watch.run(partial(train_planted, session.folder("numbers"), session.seed), session.count(400))
    yield row(
        "a feature, loss, gradient or parameter not finite",
        "stopped at that step, naming it; previous checkpoint kept",
        tally,
    )
