"""Weak and strong scaling of training over MPI ranks of one thread, and the bytes and the time of their all-reduce."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks import shapes
from benchmarks.session import ROOT, Session
from benchmarks.shapes import Shape

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
    cases = {
        "one": (1, shape.captions),
        "weak": (RANKS, RANKS * shape.captions),
        "strong": (RANKS, shape.captions),
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, (ranks, captions) in cases.items():
            words = (ranks, launcher, shape.key, captions, count)
            runs[name].append(session.timer.undisturbed(partial(_run, *words))[0])
    found = {name: _medians(several) for name, several in runs.items()}
    described = ", ".join(f"{name} {1e3 * case['step']:.4g}" for name, case in found.items())
    session.say(f"scaling, {shape.key}: {described} ms")
    return {"shape": shape.key, "captions": shape.captions, "ranks": RANKS, **found}


def _run(ranks: int, launcher: str, key: str, captions: int, count: int) -> dict[str, float]:
    worker = [sys.executable, "-m", "benchmarks.scaling_worker", key, str(captions), str(count)]
    done = subprocess.run([launcher, "-n", str(ranks), *worker], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"scaling: a run of {ranks} ranks failed: {done.stderr.strip()}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def shape_of(key: str) -> Shape:
    """Return the measured shape with this key."""
    return next(shape for shape in (*shapes.QUICK, *shapes.FLICKR8K) if shape.key == key)
