"""Whole commands: the throughput of an epoch of `captioner train`, and the start-up time of others."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np

import captioner
from benchmarks.ours import training
from benchmarks.session import CAPTIONER, ROOT, Session, run, set_library_threads
from benchmarks.shapes import Batch
from benchmarks.timing import Call, Contender
from captioner.config.yaml_io import load
from captioner.data.batches import ShuffledBatches
from captioner.inference.load import open_run
from captioner.parallel.thread_pool import ThreadPool
from captioner.preparation.load_corpus import build_corpus
from captioner.training.build import build_model

BATCHES = 4
TINY = ("data.scenes.train=40", "data.scenes.val=10", "data.scenes.test=5", "data.scenes.heldout=5")
SMALL = (*TINY, "model.wordvec_dim=256", "model.hidden_dim=512", "train.max_steps=1")
"""Options of a quick training of a model of the default size."""


def measure_epochs(session: Session) -> dict[str, Any]:
    """Measure words per second of an epoch (reading, validation, checkpoints) between two measurements of its steps.

    Model and data are the same, with one thread.
    """
    name, path, options = configured(session)
    if name == "scenes" and not session.quick:
        session.note("Flickr8k was not found (--flickr8k FOLDER); the epoch uses generated scenes")
    config = load(path, options)
    corpus = build_corpus(config)
    shuffled = ShuffledBatches(corpus.split("train"), config.train.batch_size, config.seed, null=corpus.vocab.null)
    batches = [Batch(*shuffled.batch(step)[:2]) for step in range(BATCHES)]
    step = training(build_model(config, corpus), batches, ThreadPool(1))
    steps = {"ours": Contender(lambda: [step() for _ in batches], partial(set_library_threads, "pool", 1))}

    before = session.race(f"{name}, {BATCHES} steps", steps)["ours"]
    summary, disturbed = session.timer.undisturbed(partial(epoch, path, options))
    after = session.race(f"{name}, {BATCHES} steps", steps)["ours"]
    of_steps = sum(batch.words for batch in batches) / ((before["median"] + after["median"]) / 2)
    copied = {key: summary[key] for key in ("steps", "words_per_second", "seconds", "profile")}
    ratio = summary["words_per_second"] / of_steps
    session.say(f"{name}: {summary['words_per_second']:,} words/s, {ratio:.3f} of the training steps")
    return {"data": name, **copied, "of_steps": of_steps, "ratio": ratio, "disturbed": int(disturbed)}


def configured(session: Session) -> tuple[str, Path, list[str]]:
    """Return the name of the data set, its config file and the overrides; generated scenes without Flickr8k."""
    name, options = "scenes", ["train.epochs=1", "threads=1"]
    if session.quick:
        options += TINY
    elif session.flickr8k.is_dir():
        name, options = "flickr8k", [*options, f"data.root={session.flickr8k}"]
    return name, ROOT / "configs" / f"{name}-lstm.yaml", options


def epoch(config: Path, options: list[str]) -> dict[str, Any]:
    """Return the summary of one epoch of `captioner train`."""
    with TemporaryDirectory() as folder:
        run(*CAPTIONER, "train", "-c", config, *(f"--set={option}" for option in options), "--run", folder)
        summary: dict[str, Any] = json.loads(Path(folder, "summary.json").read_text())
        return summary


def measure_startup(session: Session) -> dict[str, Any]:
    """Time processes from start to exit, and the same work in this process, for a model with D = 256 and H = 512."""
    with TemporaryDirectory() as folder:
        path, image = Path(folder, "run", "last.h5"), Path(folder, "image.h5")
        run(*CAPTIONER, "train", *(f"--set={option}" for option in SMALL), "--run", path.parent)
        features = np.zeros((1, open_run(path).model.sizes.feature), np.float32)
        with h5py.File(image, "w") as file:
            file["features"] = features
        calls: dict[str, Call] = {
            "ours": partial(run, *CAPTIONER, "--help"),
            "import click": partial(run, "-c", "import click"),
            "sample": partial(run, *CAPTIONER, "sample", path, "--features", image),
            "load": partial(open_run, path),
            "load and caption": lambda: captioner.load(path).caption(features=features),
        }
        prepare = partial(set_library_threads, "numpy", 1)
        return session.race("start-up", {name: Contender(call, prepare) for name, call in calls.items()})
