"""Reading batches of 64 random rows from a feature file of COCO's size in the page cache."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np

from benchmarks import checks
from benchmarks.memory import peak
from benchmarks.session import Session, run, set_library_threads
from benchmarks.timing import Contender
from captioner.arrays import Array
from captioner.data.features import open_features

ROWS, WIDTH, BATCH = 82_783, 512, 64

Read = Callable[[Array], Array]


def sorted_fancy(path: Path) -> Read:
    features = h5py.File(path)["features"]
    return lambda rows: np.asarray(features[np.sort(rows)])  # h5py needs increasing indices


READERS: dict[str, Callable[[Path], Read]] = {
    "ours": lambda path: open_features(path, memory_mib=1).__getitem__,
    "ours in memory": lambda path: open_features(path, memory_mib=1 << 20).__getitem__,
    "h5py": sorted_fancy,
}
"""Row reads at file offsets; the whole data set in memory (the default up to data.memory_mib); and h5py."""


def measure(session: Session) -> dict[str, Any]:
    """Measure the time of a batch and the peak MB of a process that reads all rows.

    Raises: WrongResultError if rows differ from those written.
    """
    rng = np.random.default_rng(0)
    features = rng.standard_normal((1024 if session.quick else ROWS, WIDTH), dtype=np.float32)
    batches = [rng.choice(len(features), BATCH, replace=False) for _ in range(256)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "features.h5"
        with h5py.File(path, "w") as file:
            file["features"] = features
        reads = {name: open_file(path) for name, open_file in READERS.items()}
        rows, one = np.sort(batches[0]), partial(set_library_threads, "numpy", 1)
        for name, read in reads.items():
            checks.within(f"{name}: rows", np.abs(read(rows) - features[rows]).max(), 0)
        times = session.race("64 rows", {name: Contender(reading(read, batches), one) for name, read in reads.items()})
        return {name: times[name] | {"peak": float(run("-m", "benchmarks.features", name, path))} for name in READERS}


def reading(read: Read, batches: list[Array]) -> Callable[[], object]:
    batch = cycle(batches)
    return lambda: read(next(batch))


def main(name: str, path: Path) -> None:
    """Read every row once, in the measured process."""
    read = READERS[name](path)
    with h5py.File(path) as file:
        order = np.random.default_rng(0).permutation(len(file["features"]))
    for first in range(0, len(order), BATCH):
        read(order[first : first + BATCH])
    print(peak())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
