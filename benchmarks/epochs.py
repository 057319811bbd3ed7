"""Throughput of an epoch of `captioner train` (reading, validation, checkpoints) against training steps alone."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.ours import training
from benchmarks.session import CAPTIONER, ROOT, Session, run, set_library_threads
from benchmarks.shapes import Batch
from benchmarks.timing import Contender
from captioner.config.yaml_io import load
from captioner.data.batches import ShuffledBatches
from captioner.parallel.thread_pool import ThreadPool
from captioner.preparation.load_corpus import build_corpus
from captioner.training.build import build_model

BATCHES = 4
TINY = ("data.scenes.train=40", "data.scenes.val=10", "data.scenes.test=5", "data.scenes.heldout=5")


def measure(session: Session) -> dict[str, Any]:
    """Measure words per second of steps, of an epoch and of steps again: same model, same data, one thread."""
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
