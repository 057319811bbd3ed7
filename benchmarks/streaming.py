"""Training on features larger than `data.memory_mib`: peak memory, and time spent waiting for them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import shapes
from benchmarks.memory import peak
from benchmarks.session import Session, run
from captioner.data.corpus import Corpus, Split
from captioner.data.features import SelectedFeatures
from captioner.data.prepared import write_prepared
from captioner.data.vocabulary import SPECIAL, Vocab

ROWS, WIDTH, BUDGET, STEPS = 100_000, 2048, 256, 300
"""Images, float32 numbers per image, `data.memory_mib`, and training steps."""
STEP = ("reading", "forward", "backward", "update")
DISTINCT = 997


def measure(session: Session) -> dict[str, Any]:
    """Measure the peak MB of `captioner train` on 800 MB of features, and the share of a step spent waiting."""
    rows, width, budget, steps = (2000, 256, 1, 5) if session.quick else (ROWS, WIDTH, BUDGET, STEPS)
    options = [f"data.memory_mib={budget}", f"train.max_steps={steps}", "train.batch_size=64", "threads=1"]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "large.h5"
        write_prepared(path, corpus(rows, width), {})
        words = run("-m", "benchmarks.streaming", path, Path(folder) / "run", *options).split()
        spent = json.loads(Path(folder, "run", "summary.json").read_text())["profile"]
    share = spent["reading"] / sum(spent[part] for part in STEP)
    session.say(f"streaming: peak {words[-1]} MB, {share:.2%} of a step spent waiting")
    return {"megabytes": rows * width * 4 / 1e6, "budget": budget, "peak": float(words[-1]), "share": share}


def corpus(rows: int, width: int) -> Corpus:
    """Return a corpus with one caption of COCO's length per image and features with `DISTINCT` distinct rows."""
    batch = shapes.batch(shapes.Shape("lstm", rows, 1004, 1))
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


def main(path: str, folder: str, *options: str) -> None:
    """Run the command in the measured process."""
    from captioner.cli import main as captioner

    words = ["train", "--data", path, "--run", folder, *(f"--set={option}" for option in options)]
    try:
        captioner(words)
    except SystemExit as ended:
        if ended.code:
            raise
    print(peak())


if __name__ == "__main__":
    main(*sys.argv[1:])
