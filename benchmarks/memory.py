"""Reading features and peak memory: rows of a feature file, features beyond `data.memory_mib`, and training steps.

Each peak is that of a separate process: `python -m benchmarks.memory WORK ARGUMENT...` does the work and prints it.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np

from benchmarks import checks, shapes
from benchmarks.session import Session, run, set_library_threads
from benchmarks.shapes import Shape
from benchmarks.steps import learners
from benchmarks.timing import Contender
from captioner.arrays import Array
from captioner.data.corpus import Corpus, Split
from captioner.data.features import SelectedFeatures, open_features
from captioner.data.prepared import write_prepared
from captioner.data.vocabulary import SPECIAL, Vocab

Read = Callable[[Array], Array]

COCO_ROWS, COCO_WIDTH, BATCH = 82_783, 512, 64
"""Images and features of COCO, and rows per batch."""
ROWS, WIDTH, BUDGET, STEPS = 100_000, 2048, 256, 300
"""Of the large features: images, float32 numbers per image, `data.memory_mib`, and training steps."""
PARTS = ("reading", "forward", "backward", "update")
DISTINCT = 997
TRAINED = 5
"""Training steps before the peak is read."""


def peak() -> float:
    """Return the peak resident set size of this process in MB.

    VmHWM is preferred, since ru_maxrss of a child starts at its parent's value.
    """
    status = Path("/proc/self/status")
    if status.exists() and (match := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(match[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes


def peak_of(work: str, *arguments: object) -> float:
    """Return the peak MB of a process that does this work."""
    return float(run("-m", "benchmarks.memory", work, *arguments).split()[-1])


def sorted_fancy(path: Path) -> Read:
    features = h5py.File(path)["features"]
    return lambda rows: np.asarray(features[np.sort(rows)])  # h5py needs increasing indices


READERS: dict[str, Callable[[Path], Read]] = {
    "ours": lambda path: open_features(path, memory_mib=1).__getitem__,
    "ours in memory": lambda path: open_features(path, memory_mib=1 << 20).__getitem__,
    "h5py": sorted_fancy,
}
"""Row reads at file offsets; the whole data set in memory (the default up to data.memory_mib); and h5py."""


def measure_features(session: Session) -> dict[str, Any]:
    """Measure the time of 64 random rows of a file of COCO's size in the page cache, and the peak of reading all rows.

    Raises: WrongResultError if rows differ from those written.
    """
    rng = np.random.default_rng(0)
    features = rng.standard_normal((1024 if session.quick else COCO_ROWS, COCO_WIDTH), dtype=np.float32)
    batches = [rng.choice(len(features), BATCH, replace=False) for _ in range(256)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "features.h5"
        with h5py.File(path, "w") as file:
            file["features"] = features
        reads = {name: open_file(path) for name, open_file in READERS.items()}
        rows, one_thread = np.sort(batches[0]), partial(set_library_threads, "numpy", 1)
        for name, read in reads.items():
            checks.within(f"{name}: rows", np.abs(read(rows) - features[rows]).max(), 0)
        times = session.race(
            "64 rows", {name: Contender(reading(read, batches), one_thread) for name, read in reads.items()}
        )
        return {name: times[name] | {"peak": peak_of("read", name, path)} for name in READERS}


def reading(read: Read, batches: list[Array]) -> Callable[[], object]:
    batch = cycle(batches)
    return lambda: read(next(batch))


def read_all(name: str, path: str) -> None:
    """Read every row once."""
    read = READERS[name](Path(path))
    with h5py.File(path) as file:
        order = np.random.default_rng(0).permutation(len(file["features"]))
    for first in range(0, len(order), BATCH):
        read(order[first : first + BATCH])


def measure_streaming(session: Session) -> dict[str, Any]:
    """Measure the peak MB of `captioner train` on 800 MB of features, and the share of a step spent waiting."""
    rows, width, budget, steps = (2000, 256, 1, 5) if session.quick else (ROWS, WIDTH, BUDGET, STEPS)
    options = [f"data.memory_mib={budget}", f"train.max_steps={steps}", "train.batch_size=64", "threads=1"]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "large.h5"
        write_prepared(path, large_corpus(rows, width), {})
        megabytes = peak_of("stream", path, Path(folder) / "run", *options)
        spent = json.loads(Path(folder, "run", "summary.json").read_text())["profile"]
    share = spent["reading"] / sum(spent[part] for part in PARTS)
    session.say(f"streaming: peak {megabytes} MB, {share:.2%} of a step spent waiting")
    return {"megabytes": rows * width * 4 / 1e6, "budget": budget, "peak": megabytes, "share": share}


def large_corpus(rows: int, width: int) -> Corpus:
    """Return a corpus with one caption of COCO's length per image and features with `DISTINCT` distinct rows."""
    batch = shapes.batch(Shape("lstm", rows, 1004, 1))
    distinct = np.random.default_rng(0).standard_normal((DISTINCT, width), dtype=np.float32)
    vocab = Vocab([*SPECIAL, *(f"w{number}" for number in range(1000))])

    def split(first: int, last: int) -> Split:
        count = last - first
        return Split(
            captions=np.asarray(batch.captions[first:last], np.int32),
            image_idxs=np.arange(count, dtype=np.int32),
            features=SelectedFeatures(distinct, np.arange(first, last) % DISTINCT),
            image_ids=[f"{row}.jpg" for row in range(count)],
        )

    cut = rows - rows // 100
    return Corpus(vocab, {"train": split(0, cut), "val": split(cut, rows)}, "random")


def stream(path: str, folder: str, *options: str) -> None:
    """Run `captioner train`."""
    from captioner.cli import main as captioner

    words = ["train", "--data", path, "--run", folder, *(f"--set={option}" for option in options)]
    try:
        captioner(words)
    except SystemExit as ended:
        if ended.code:
            raise


def measure_memory(session: Session) -> dict[str, Any]:
    """Measure the LSTM with V = 1,004: all contenders at N = 64, and captioner's linear fit over words for larger N."""
    usual, *others = (8, 4, 16) if session.quick else (64, 16, 32, 128, 256, 512)
    names = [name for name in learners(session.has_torch) if name not in ("loops", "bfloat16")]
    peaks = {name: peak_of("train", name, usual) for name in (names[:2] if session.quick else names)}
    growth = [(shapes.batch(shape_of(n)).words, peak_of("train", "ours", n)) for n in sorted((usual, *others))]
    words, megabytes = np.array(growth).T
    slope, base = np.polyfit(words, megabytes, 1)
    theirs = [megabytes for name, megabytes in peaks.items() if name.startswith("torch")]
    session.say(f"peak MB {peaks}, {growth}")
    return {
        "peak": peaks,
        **({"ratio": peaks["ours"] / min(theirs)} if theirs else {}),
        "growth": growth,
        "kb_a_word": 1e3 * slope,
        "base": base,
        "distance": np.max(np.abs(slope * words + base - megabytes) / megabytes),
    }


def shape_of(captions: int) -> Shape:
    return Shape("lstm", captions, 1004)


def train(name: str, captions: str) -> None:
    """Take a few training steps with one thread."""
    shape = shape_of(int(captions))
    learner = learners(name.startswith("torch"))[name](shape, shapes.parameters(shape), shapes.batch(shape))
    set_library_threads(learner.library, 1)
    for _ in range(TRAINED):
        learner.step()


WORK: dict[str, Callable[..., None]] = {"read": read_all, "stream": stream, "train": train}

if __name__ == "__main__":
    WORK[sys.argv[1]](*sys.argv[2:])
    print(peak())
