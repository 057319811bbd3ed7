"""python -m benchmarks.plot: draw docs/growth.svg from the CPU whose scaling was measured last."""

from __future__ import annotations

import matplotlib

from benchmarks.results import load_all
from benchmarks.session import ROOT

matplotlib.use("svg")
from matplotlib import pyplot as plt

NAMES = {
    "N": "N, captions per batch",
    "T": "T, caption length",
    "H": "H, hidden units",
    "V": "V, vocabulary size",
}


def main() -> None:
    """Draw one log-log panel per size: slope 1 is linear growth."""
    growth = next(found["growth"] for found in load_all(ROOT / "benchmarks") if "growth" in found)
    plt.rcParams["svg.hashsalt"] = "captioner"
    figure, panels = plt.subplots(1, len(growth), figsize=(13, 3.4), sharey=True, layout="constrained")
    for panel, (letter, rows) in zip(panels, growth.items(), strict=True):
        sizes = [row["size"] for row in rows]
        for name, style in (("ours", "o-"), ("floor", ".--")):
            panel.loglog(sizes, [1e3 * row[name]["median"] for row in rows], style, label=name)
        panel.set_xticks(sizes, map(str, sizes), rotation=45)
        panel.minorticks_off()
        panel.set_xlabel(NAMES[letter])
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("ms per training step, one thread")
    panels[0].legend(labels=["captioner", "GEMM floor"])
    figure.savefig(ROOT / "docs" / "growth.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
