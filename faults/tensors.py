"""Tensor files of others, damaged or changed on purpose: they have no digest, so other numbers may be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from captioner.errors import DataError
from captioner.export.export_run import export_run
from captioner.export.safetensors_file import read_model
from faults import materials, watch
from faults.damage import mutated
from faults.session import Row, Session, row
from faults.watch import Outcome, classify


@dataclass(frozen=True)
class Damaged:
    """Trial k damages a tensor file and reads the model; its arrays must be finite and have the same shapes."""

    whole: Path
    seed: int

    def __call__(self, number: int) -> Outcome:
        rng = np.random.default_rng((self.seed, number))
        path = self.whole.with_name(f"damaged-{os.getpid()}")
        path.write_bytes(mutated(self.whole.read_bytes(), rng))
        return classify(
            lambda: read_model(path),
            lambda model: all(
                np.isfinite(array).all() for group in model.groups().values() for array in group.values()
            ),
            DataError,
        )


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("tensors")
    export_run(materials.make_run(folder / "run"), "safetensors", whole := folder / "safetensors")
    yield row(
        "safetensors files damaged, for import",
        "no crash, hang or traceback",
        watch.run(Damaged(whole, session.seed), session.count(4_000)),
    )
