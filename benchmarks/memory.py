"""Peak memory of training, each contender in a separate process."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import shapes
from benchmarks.session import Session, run, set_library_threads
from benchmarks.shapes import Shape
from benchmarks.steps import learners

STEPS = 5


def peak() -> float:
    """Return the peak resident set size of this process in MB.

    VmHWM is preferred, since ru_maxrss of a child starts at its parent's value.
    """
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes


def measure(session: Session) -> dict[str, Any]:
    """Measure the LSTM with V = 1,004: all contenders at N = 64, and captioner's linear fit over words for larger N."""
    usual, *others = (8, 4, 16) if session.quick else (64, 16, 32, 128, 256, 512)
    names = [name for name in learners(session.has_torch) if name not in ("loops", "bfloat16")]
    names = names[:2] if session.quick else names
    peaks = {name: peak_of(name, usual) for name in names}
    growth = [(shapes.batch(shape_of(n)).words, peak_of("ours", n)) for n in sorted((usual, *others))]
    words, megabytes = np.array(growth).T
    slope, base = np.polyfit(words, megabytes, 1)
    theirs = [peak for name, peak in peaks.items() if name.startswith("torch")]
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


def peak_of(name: str, captions: int) -> float:
    return float(run("-m", "benchmarks.memory", name, captions))


def main(name: str, captions: int) -> None:
    """Train in the measured process."""
    shape = shape_of(captions)
    learner = learners(name.startswith("torch"))[name](shape, shapes.parameters(shape), shapes.batch(shape))
    set_library_threads(learner.library, 1)
    for _ in range(STEPS):
        learner.step()
    print(peak())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
