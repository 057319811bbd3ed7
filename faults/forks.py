"""Forks of a process while its threads caption photographs: each child captions too."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TypeAlias

import captioner
from faults.materials import make_album
from faults.session import SMALL, Row, Session
from faults.watch import Outcome

Captions: TypeAlias = list[tuple[str, float]]
SECONDS = 30
"""A child that takes longer hangs."""
THREADS = 2


def fork_and_caption(folder: Path, number: int) -> Outcome:
    """Fork a child that captions photographs."""
    captions, expected = _captioning(folder)
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        try:
            os._exit(0 if captions() == expected else 1)
        finally:
            os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    kinds = {0: "same captions", 1: "wrong", 2: "traceback", -signal.SIGALRM: "hung"}
    return Outcome(kinds.get(code, "crashed"), f"exit code {code}")


@cache
def _captioning(folder: Path) -> tuple[Callable[[], Captions], Captions]:
    """Start threads that caption photographs for ever; return a function that does it once, and its result."""
    warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, at the fork of a process with threads
    model = captioner.load(folder / "run")

    def captions() -> Captions:
        return [(caption.text, caption.log_prob) for caption in model.caption(folder / "photos")]

    def repeat() -> None:
        with suppress(RuntimeError):  # at the end of the process
            while True:
                captions()

    expected = captions()
    for _ in range(THREADS):
        threading.Thread(target=repeat, daemon=True).start()
    return captions, expected


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("forks")
    table = make_album(folder / "photos") / "captions.csv"
    data = folder / "data.h5"
    captioner.prepare(table, data, encoder="efficientnet-lite0:size=64", val=0.25, min_count=1)
    overrides = (*SMALL, "data.source=prepared", f"data.root={data}", "train.max_steps=3", "threads=2")
    captioner.train(None, folder / "run", [text for text in overrides if not text.startswith("data.scenes")])
    trial = partial(fork_and_caption, folder)
    must = "the child writes the same captions"
    yield session.run("forks while two threads caption photographs", must, trial, 600, patience=2 * SECONDS)
