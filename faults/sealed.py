"""Damaged checkpoints and prepared data sets: refused with a one-line error, or read with the same content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from captioner.data.prepared import prepared
from captioner.errors import CaptionerError, CheckpointError, DataError
from captioner.inference.restore import restore
from faults import materials, watch
from faults.damage import damaged
from faults.session import Row, Session, row
from faults.watch import Outcome, classify

MUST = "refused with a one-line error, or the same content"
READERS: dict[str, tuple[Callable[[Path], Any], Callable[[Any], str], type[CaptionerError]]] = {
    "checkpoint": (restore, materials.checkpoint_digest, CheckpointError),
    "data set": (prepared, materials.corpus_digest, DataError),
}
"""Reader, content digest and expected error type of each kind of file."""


@dataclass(frozen=True)
class Damaged:
    """Trial k damages a file, reproducibly by (seed, k), and reads it."""

    kind: str
    whole: Path
    others: tuple[Path, ...]
    content: str
    seed: int

    def __call__(self, number: int) -> Outcome:
        rng = np.random.default_rng((self.seed, number))
        others = [other.read_bytes() for other in self.others]
        path = self.whole.with_name(f"damaged-{os.getpid()}.h5")
        path.write_bytes(damaged(self.whole.read_bytes(), others, rng))
        read, content, error_type = READERS[self.kind]
        return classify(lambda: read(path), lambda value: content(value) == self.content, error_type)


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("sealed")
    runs = [materials.make_run(folder / f"run-{seed}", f"seed={seed}") / "last.h5" for seed in (0, 1)]
    sets = [materials.make_prepared(folder / f"set-{seed}.h5", seed) for seed in (0, 1)]
    for (kind, full), whole, others in (
        (("checkpoint", 10_000), runs[0], (runs[1], sets[0])),
        (("data set", 5_000), sets[0], (sets[1], runs[0])),
    ):
        read, content, _ = READERS[kind]
        trial = Damaged(kind, whole, tuple(others), content(read(whole)), session.seed)
        yield row(
            f"{kind}s damaged: flipped bits, replaced blocks, truncated, spliced",
            MUST,
            watch.run(trial, session.count(full)),
        )
