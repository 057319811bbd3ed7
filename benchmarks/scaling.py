"""Weak and strong scaling of training over MPI ranks of one thread, and the bytes and the time of their all-reduce."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import checks, ours, shapes
from benchmarks.session import ROOT, Session
from benchmarks.shapes import Shape
from captioner.arrays import Array, Batch
from captioner.data.batches import part_of_rank
from captioner.layers.dropout import draw_noise
from captioner.layers.packing import caption_lengths
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.optim.schedules import SCHEDULES, Span
from captioner.optim.update_rules import UPDATE_RULES, Hyper
from captioner.parallel.blas import set_threads
from captioner.parallel.mpi import start
from captioner.parallel.ranks import Ranks
from captioner.training.solver import Plan, Stopwatch, TrainState, steps

RANKS = 2
ROUNDS, STEPS = 5, 12
"""Runs of each case, which take turns, and timed steps of each run."""


def measure(session: Session) -> dict[str, Any]:
    """Time a step of one rank, of two ranks with twice the batch (weak), and of two with the same batch (strong)."""
    launcher = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
    if launcher is None:
        raise click.ClickException("scaling: mpiexec not found; install the package mpich")
    shape = shapes.QUICK[0] if session.quick else shapes.FLICKR8K[0]
    rounds, count = (1, 2) if session.quick else (min(ROUNDS, session.timer.bursts), STEPS)
    captions = shape.captions
    cases = {"one": (1, captions), "weak": (RANKS, RANKS * captions), "strong": (RANKS, captions)}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, (ranks, total) in cases.items():
            worker = partial(_run, ranks, launcher, shape.key, total, count)
            runs[name].append(session.timer.undisturbed(worker)[0])
    medians = {name: _medians(times) for name, times in runs.items()}
    session.say(f"scaling, {shape.key}: " + ", ".join(f"{n} {1e3 * t['step']:.4g}" for n, t in medians.items()) + " ms")
    return {"shape": shape.key, "captions": captions, "ranks": RANKS, **medians}


def _run(ranks: int, launcher: str, key: str, captions: int, count: int) -> dict[str, float]:
    worker = [sys.executable, "-m", "benchmarks.scaling", key, str(captions), str(count)]
    done = subprocess.run([launcher, "-n", str(ranks), *worker], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"scaling: a run of {ranks} ranks failed: {done.stderr.strip()}")
    times: dict[str, float] = json.loads(done.stdout)
    return times


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[-1]}


def shape_of(key: str) -> Shape:
    """Return the measured shape with this key."""
    return next(shape for shape in (*shapes.QUICK, *shapes.FLICKR8K) if shape.key == key)


WARM_UP = 3


class Dealt:
    """The part of one batch in memory that a rank computes in every step."""

    def __init__(self, features: Array, captions: Array, ranks: Ranks) -> None:
        self.features, self.captions, self.ranks = features, captions, ranks

    def batch(self, step: int, /) -> Batch:
        part = part_of_rank(self.captions, np.arange(len(self.captions)), shapes.NULL, self.ranks)
        rows = slice(None) if part is None else part.rows
        return Batch(self.features[rows], self.captions[rows], part=part)


def main(key: str, captions: int, count: int) -> None:
    """Print the median seconds of a step and of its parts, after a comparison of its gradients with a serial run."""
    set_threads(1)
    ranks = start()
    shape = replace(shape_of(key), captions=captions)
    whole, model = shapes.batch(shape), CaptioningRNN(shape.sizes, shapes.parameters(shape), dropout=shape.dropout)
    dealt = Dealt(*whole, ranks)
    nbytes = check(model, dealt, ranks)
    rule, watch = UPDATE_RULES["adam"], Stopwatch()
    plan = Plan(rule, Hyper(ours.RATE), SCHEDULES["constant"], Span(10**9, 10**9), clip_norm=ours.CLIP)
    records = steps(model, dealt, TrainState.fresh(model, rule), plan, watch, reduce=ranks.all_reduce)
    times: list[dict[str, float]] = []
    for _ in range(WARM_UP + count):
        watch.seconds.clear()
        ranks.all_gather(None)  # all begin together, so that the first waits for none
        began = time.perf_counter()
        next(records)
        times.append({"step": time.perf_counter() - began, **watch.seconds})
    if ranks.rank == 0:
        print(json.dumps({**_medians(times[WARM_UP:]), "noise": noise_seconds(shape, whole.captions), "bytes": nbytes}))


def check(model: CaptioningRNN, dealt: Dealt, ranks: Ranks) -> int:
    """Compare loss and gradients with those of one process, dropout included; return the bytes of the gradients.

    Raises: WrongResultError if they differ.
    """
    batch = dealt.batch(0)
    losses, cache = model.forward(batch.features, batch.captions, np.random.default_rng(0), part=batch.part)
    grads = model.backward(cache)
    nbytes = sum(grad.nbytes for grad in grads.values())
    summed = ranks.all_reduce({**grads, "loss": np.array([losses.loss])})
    loss = float(summed.pop("loss")[0])
    if ranks.rank == 0:
        serial = model.loss(dealt.features, dealt.captions, np.random.default_rng(0))
        checks.same_gradients(f"{ranks.size} ranks", (loss, summed), serial, checks.FLOAT32)
    return nbytes


def noise_seconds(shape: Any, captions: Array) -> float:
    """Return the time of drawing the dropout noise of a batch, which every rank does for the whole batch."""
    rng, words = np.random.default_rng(0), int(caption_lengths(captions, shapes.NULL).sum())
    drawn = [
        ((len(captions), shape.feature), shape.dropout.features),
        ((words, shape.wordvec), shape.dropout.words),
        ((words, shape.hidden), shape.dropout.hidden),
    ]
    times = []
    for _ in range(5):
        began = time.perf_counter()
        for size, rate in drawn:
            if rate:
                draw_noise(size, rng)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
