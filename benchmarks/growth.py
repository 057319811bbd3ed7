"""Time of a training step as a function of each size; the others are those of the LSTM with N = 64, V = 1,004.

`python -m benchmarks.growth` draws docs/growth.svg from the CPU whose scaling was measured last.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks import shapes, steps
from benchmarks.results import load_all
from benchmarks.session import ROOT, Session
from benchmarks.shapes import Shape

BASE = Shape("lstm", 64, 1004)
SIZES: dict[str, tuple[str, tuple[int, ...], str]] = {
    "N": ("captions", (8, 16, 32, 64, 128, 256, 512), "captions per batch"),
    "T": ("columns", (5, 9, 17, 33, 65), "caption length"),
    "H": ("hidden", (64, 128, 256, 512, 1024), "hidden units"),
    "V": ("vocab", (250, 500, 1000, 2000, 4000, 8000, 16000), "vocabulary size"),
}
"""For each letter the field of `Shape`, its values and its meaning. Captions of T columns have T - 2 words."""


def measure(session: Session) -> dict[str, Any]:
    """Time a step and its GEMM floor with one thread for every size, and count the words of the batch."""
    results: dict[str, Any] = {}
    for letter, (name, values, _) in SIZES.items():
        base, values = (shapes.QUICK[0], values[:1]) if session.quick else (BASE, values)
        results[letter] = [_measure(session, base, letter, name, value) for value in values]
    return results


def _measure(session: Session, base: Shape, letter: str, name: str, value: int) -> dict[str, Any]:
    lengths = {"mean": float(value), "shortest": value - 2} if name == "columns" else {}
    shape = replace(base, **{name: value}, **lengths)
    builds = [(library, partial(steps.build, library, shape)) for library in ("captioner", "floor")]
    race = session.race(f"{letter} = {value}", 1, builds, lambda contenders: {"one thread": contenders})["one thread"]
    return {"size": value, "words": shapes.batch(shape).words, **race}


def main() -> None:
    """Draw one log-log panel per size: slope 1 is linear growth."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    growth = next(results["growth"] for results in load_all(ROOT / "benchmarks") if "growth" in results)
    plt.rcParams["svg.hashsalt"] = "captioner"
    figure, panels = plt.subplots(1, len(growth), figsize=(13, 3.4), sharey=True, layout="constrained")
    for panel, (letter, rows) in zip(panels, growth.items(), strict=True):
        sizes = [row["size"] for row in rows]
        for name, style in (("ours", "o-"), ("floor", ".--")):
            panel.loglog(sizes, [1e3 * row[name]["median"] for row in rows], style, label=name)
        panel.set_xticks(sizes, map(str, sizes), rotation=45)
        panel.minorticks_off()
        panel.set_xlabel(f"{letter}, {SIZES[letter][2]}")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("ms per training step, one thread")
    panels[0].legend(labels=["captioner", "GEMM floor"])
    figure.savefig(ROOT / "docs" / "growth.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
