"""The tables of scaling: what was measured, and what a model calculates from it for more ranks on Ethernet."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.markdown import Row, table
from benchmarks.results import Results

RANKS = (4, 8, 16, 32, 64)
NETWORKS = {"1 GbE": 1e9 / 8, "10 GbE": 1e10 / 8, "25 GbE": 25e9 / 8}
"""Bytes per second at line rate."""
LATENCY = 50e-6
"""Seconds of one message over TCP."""


def efficiency(scaling: Results, case: str = "weak") -> float:
    """Return how much of two ranks' time is used: 1 is a step of twice the captions, or half the time, of one rank."""
    speed_up = scaling["one"]["step"] / scaling[case]["step"]
    return float(speed_up if case == "weak" else speed_up / scaling["ranks"])


def all_reduce_seconds(ranks: int, nbytes: float, rate: float) -> float:
    """Return the seconds of an all-reduce: each rank sends 2 (k - 1) / k of the bytes, in 2 (k - 1) messages."""
    return 2 * (ranks - 1) * (nbytes / ranks / rate + LATENCY)


def calculated_step(scaling: Results, ranks: int, rate: float, weak: bool) -> float:
    """Return the seconds of a step of several ranks, from that of one rank.

    The update takes as long on every rank, the dropout noise is drawn for the whole batch on every rank, and the other
    work is shared.
    """
    one = scaling["one"]
    shared = one["step"] - one["update"] - one["noise"]
    work = shared + ranks * one["noise"] if weak else shared / ranks + one["noise"]
    return float(work + one["update"] + all_reduce_seconds(ranks, one["bytes"], rate))


def scaling_tables(scaling: Results) -> Iterator[str]:
    """Yield the table of the measurement and that of the model."""
    one, count = scaling["one"], scaling["ranks"]
    batches = {
        "one": (f"1 rank, {scaling['captions']} captions", ""),
        "weak": (f"{count} ranks, {count * scaling['captions']} captions (weak)", f"{efficiency(scaling):.2f}"),
        "strong": (f"{count} ranks, {scaling['captions']} captions (strong)", f"{efficiency(scaling, 'strong'):.2f}"),
    }
    yield table(
        f"{scaling['shape']}, measured | step, ms | all-reduce, ms | gradients, MB | efficiency",
        (
            (
                name,
                *(f"{1e3 * scaling[case][part]:.4g}" for part in ("step", "all-reduce")),
                f"{one['bytes'] / 1e6:.1f}",
                value,
            )
            for case, (name, value) in batches.items()
        ),
    )
    yield table(
        "ranks, **calculated**: all-reduce in ms, weak efficiency, strong speed-up | " + " | ".join(NETWORKS),
        _calculated(scaling),
    )


def _calculated(scaling: Results) -> Iterator[Row]:
    one = scaling["one"]
    for ranks in RANKS:
        cells = []
        for rate in NETWORKS.values():
            weak, strong = (one["step"] / calculated_step(scaling, ranks, rate, kind) for kind in (True, False))
            cells.append(f"{1e3 * all_reduce_seconds(ranks, one['bytes'], rate):.0f} ms, {weak:.2f}, {strong:.1f}x")
        yield (str(ranks), *cells)
