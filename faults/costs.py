"""Overhead of the safeguards: time to save and load a checkpoint, and to check a training step."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np

import captioner.training.solver
from captioner.arrays import Batch, Params
from captioner.data.vocabulary import SPECIAL
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes, initial_params
from captioner.optim.schedules import SCHEDULES, Span
from captioner.optim.update_rules import UPDATE_RULES, Hyper
from captioner.parallel.blas import set_threads
from captioner.parallel.thread_pool import ThreadPool
from captioner.storage import checkpoint
from captioner.storage.checkpoint import Checkpoint, Meta
from captioner.training.solver import Plan, TrainState, steps
from faults.session import Figure, Session

VOCAB, FEATURE, WORDVEC, HIDDEN, CAPTIONS, TIME = 1004, 512, 256, 512, 64, 17
"""Sizes of the LSTM in the CS231n assignment."""
PARAMETERS = 10_000_000


class RandomBatches:
    """Batches of random captions with lengths like those of COCO."""

    def batch(self, step: int, /) -> Batch:
        rng = np.random.default_rng(step)
        captions = rng.integers(len(SPECIAL), VOCAB, (CAPTIONS, TIME)).astype(np.int32)
        captions[:, 0] = 1
        for caption, length in zip(captions, rng.integers(8, TIME - 1, CAPTIONS), strict=True):
            caption[length], caption[length + 1 :] = 2, 0
        return Batch(rng.standard_normal((CAPTIONS, FEATURE)).astype(np.float32), captions)


def fastest(act: Callable[[], object], times: int) -> float:
    def once() -> float:
        started = time.perf_counter()
        act()
        return time.perf_counter() - started

    return min(once() for _ in range(times))


def checkpoints(session: Session) -> Iterator[Figure]:
    """Measure saving and loading the parameters and both Adam slots: the minimum of 5 runs."""
    parameters = session.count(PARAMETERS)
    params: Params = {f"w{k}": np.random.default_rng(k).standard_normal(parameters // 8, np.float32) for k in range(8)}
    slots = {slot: {name: w.copy() for name, w in params.items()} for slot in ("m", "v")}
    meta = Meta("", list(SPECIAL), 1, "", "", [], 0, None, 0, {}, "")
    path = session.folder("costs") / "large.h5"
    whole = Checkpoint(meta, params, slots, {})
    saving = fastest(lambda: checkpoint.save(path, whole), 5)
    loading = fastest(lambda: checkpoint.load(path), 5)
    what = f"a checkpoint of {parameters:,} parameters and Adam's moments"
    yield {"what": f"time to save {what}", "got": round(saving, 3), "most": 0.5, "unit": "s"}
    yield {"what": f"time to load {what}", "got": round(loading, 3), "most": 0.5, "unit": "s"}


def checks(session: Session) -> Iterator[Figure]:
    """Measure the time share of the checks in a training step; steps with and without them are interleaved."""
    set_threads(1)
    sizes = Sizes(VOCAB, FEATURE, WORDVEC, HIDDEN, "lstm")
    model = CaptioningRNN(sizes, initial_params(sizes, np.random.default_rng(0).standard_normal, np.float32), 0)
    hyper: Any = {"momentum": 0.9, "decay_rate": 0.9, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    plan = Plan(
        UPDATE_RULES["adam"],
        Hyper(**hyper, learning_rate=1e-4, weight_decay=0.0),
        SCHEDULES["constant"],
        Span(1 << 30, 100),
        5.0,
    )
    training_steps = steps(model, RandomBatches(), TrainState.fresh(model, plan.rule), plan)
    spent = [0.0]
    real = captioner.training.solver.check_finite

    def timed(state: TrainState, pool: ThreadPool) -> None:
        started = time.perf_counter()
        real(state, pool)
        spent[0] += time.perf_counter() - started

    times: dict[str, list[float]] = {"with": [], "without": []}
    inside: list[float] = []
    for _ in range(max(4, session.count(120))):
        for name, check in (("with", timed), ("without", lambda *_: None)):
            with mock.patch.object(captioner.training.solver, "check_finite", check):
                spent[0], started = 0.0, time.perf_counter()
                next(training_steps)
                times[name].append(time.perf_counter() - started)
            if name == "with":
                inside.append(spent[0])
    median = statistics.median(times["without"])
    difference = 100 * (statistics.median(times["with"]) / median - 1)
    session.note(
        f"steps with the check for non-finite values took {difference:+.1f} % longer than steps without it "
        f"({1e3 * median:.1f} ms), timed alternately; this difference includes the drift of the machine"
    )
    share = 100 * statistics.median(inside) / median
    what = "time of the check for non-finite values"
    yield {"what": what, "got": round(share, 2), "most": 1.0, "unit": "% of a step"}


def measure(session: Session) -> Iterator[Figure]:
    yield from checkpoints(session)
    yield from checks(session)
