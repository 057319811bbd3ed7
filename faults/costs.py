"""Overhead of the safeguards: time to save and load a checkpoint, and to check a training step."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from unittest import mock

import numpy as np

import captioner.training.solver
from captioner.arrays import Params
from captioner.config.yaml_io import parse
from captioner.data.batches import ShuffledBatches
from captioner.data.vocabulary import SPECIAL
from captioner.parallel.blas import set_threads
from captioner.preparation.load_corpus import build_corpus
from captioner.storage import checkpoint
from captioner.storage.checkpoint import Checkpoint, Meta
from captioner.training.build import build_model, build_plan
from captioner.training.solver import TrainState, check_finite, steps
from faults.session import Figure, Session

PARAMETERS = 10_000_000
OPTIONS = ("model.hidden_dim=512", "model.wordvec_dim=256", "train.batch_size=64", "data.scenes.train=200")
"""An LSTM of the size of the CS231n assignment's."""


def fastest(act: Callable[[], object], times: int = 5) -> float:
    """Return the seconds of the fastest of several calls."""

    def seconds() -> float:
        started = time.perf_counter()
        act()
        return time.perf_counter() - started

    return round(min(seconds() for _ in range(times)), 3)


def checkpoints(session: Session) -> Iterator[Figure]:
    """Measure saving and loading the parameters and both Adam slots."""
    parameters = session.count(PARAMETERS)
    params: Params = {f"w{k}": np.random.default_rng(k).standard_normal(parameters // 8, np.float32) for k in range(8)}
    slots = {slot: {name: w.copy() for name, w in params.items()} for slot in ("m", "v")}
    whole = Checkpoint(Meta("", list(SPECIAL), 1, "", "", [], 0, None, 0, {}, ""), params, slots, {})
    path = session.folder("costs") / "large.h5"
    what = f"a checkpoint of {parameters:,} parameters and Adam's moments"
    saving, loading = fastest(lambda: checkpoint.save(path, whole)), fastest(lambda: checkpoint.load(path))
    yield {"what": f"time to save {what}", "got": saving, "most": 0.5, "unit": "s"}
    yield {"what": f"time to load {what}", "got": loading, "most": 0.5, "unit": "s"}


def checks(session: Session) -> Iterator[Figure]:
    """Measure the share of the check for non-finite values in the time of a training step."""
    set_threads(1)
    config = parse("", "", OPTIONS)
    corpus = build_corpus(config)
    model, plan = build_model(config, corpus), build_plan(config, corpus.split("train"))
    batches = ShuffledBatches(corpus.split("train"), config.train.batch_size, 0, null=corpus.vocab.null)
    training_steps = steps(model, batches, TrainState.fresh(model, plan.rule), plan)
    inside: list[float] = []
    whole: list[float] = []

    def timed(seconds: list[float], act: Callable[..., object], *arguments: object) -> None:
        started = time.perf_counter()
        act(*arguments)
        seconds.append(time.perf_counter() - started)

    with mock.patch.object(captioner.training.solver, "check_finite", partial(timed, inside, check_finite)):
        for _ in range(max(4, session.count(120))):
            timed(whole, next, training_steps)
    share = 100 * statistics.median(inside) / statistics.median(whole)
    what = "time of the check for non-finite values"
    yield {"what": what, "got": round(share, 2), "most": 1.0, "unit": "% of a step"}


def measure(session: Session) -> Iterator[Figure]:
    yield from checkpoints(session)
    yield from checks(session)
