"""The performance targets of captioner, checked against the results."""

from __future__ import annotations

import operator
from collections.abc import Callable
from statistics import geometric_mean
from typing import Any, TypeAlias

from benchmarks import shapes

Results: TypeAlias = dict[str, Any]
Target: TypeAlias = tuple[str, Callable[[Results], float], str, float]
"""A name, how to read its value from the results, a comparison sign and a bound."""

SIGNS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


def over(race: Results, ours: str, theirs: str) -> float:
    """Return the ratio of two median times of one race."""
    return float(race[ours]["median"] / race[theirs]["median"])


def with_best(race: Results) -> Results:
    """Add the fastest PyTorch variant, if any was measured, as `best`."""
    variants = [took for name, took in race.items() if name.startswith("torch")]
    return race | {"best": min(variants, key=lambda took: took["median"])} if variants else race


def with_threads(count: str, label: str, mean: float, worst: float) -> list[Target]:
    """Return the targets for a number of threads; means are geometric, over the COCO shapes."""

    def steps(r: Results, theirs: str, key: str = "") -> list[float]:
        races = (r["steps"][shape.key]["threads"][count] for shape in shapes.COCO if shape.key.startswith(key))
        return [over(with_best(race), "ours", theirs) for race in races]

    def loops(r: Results, cell: str) -> float:
        shapes_of = [shape.key for shape in shapes.COCO if shape.cell == cell]
        return geometric_mean(over(r["steps"][key]["loops"][count], "loops", "ours") for key in shapes_of)

    def decoding(r: Results, cell: str, ours: str, theirs: str) -> float:
        return over(r["decoding"][cell]["threads"][count], ours, theirs)

    return [
        (f"{label}: step / PyTorch best, mean", lambda r: geometric_mean(steps(r, "best")), "<=", mean),
        (f"{label}: step / PyTorch best, worst", lambda r: max(steps(r, "best")), "<=", worst),
        (f"{label}: step / PyTorch eager, mean", lambda r: geometric_mean(steps(r, "torch eager")), "<=", 0.65),
        (f"{label}: step / GEMM floor, lstm-64-1004", lambda r: max(steps(r, "floor", "lstm-64-1004")), "<=", 1.30),
        (f"{label}: step / GEMM floor, lstm-256-1004", lambda r: max(steps(r, "floor", "lstm-256-1004")), "<=", 1.15),
        (f"{label}: loops / LSTM step, mean", lambda r: loops(r, "lstm"), ">=", 5.5),
        (f"{label}: loops / RNN step, mean", lambda r: loops(r, "rnn"), ">=", 4),
        (f"{label}: LSTM greedy / PyTorch", lambda r: decoding(r, "lstm", "ours", "torch"), "<=", 0.64),
        (f"{label}: RNN greedy / PyTorch", lambda r: decoding(r, "rnn", "ours", "torch"), "<=", 0.55),
        (f"{label}: LSTM beam 3 / greedy", lambda r: decoding(r, "lstm", "ours beam 3", "ours"), "<=", 3.2),
        (f"{label}: RNN beam 3 / greedy", lambda r: decoding(r, "rnn", "ours beam 3", "ours"), "<=", 3.2),
    ]


TARGETS: list[Target] = [
    *with_threads("1", "one thread", 0.78, 0.90),
    *with_threads("2", "two threads", 0.79, 1.0),
    ("words/s of an epoch / of its training steps", lambda r: r["epochs"]["ratio"], ">=", 0.92),
    ("peak memory / lowest peak of PyTorch", lambda r: r["memory"]["ratio"], "<=", 0.30),
    ("peak memory, relative deviation from a linear fit over words", lambda r: r["memory"]["distance"], "<=", 0.05),
    ("read a batch of features / h5py", lambda r: over(r["features"], "ours in memory", "h5py"), "<=", 0.1),
    ("peak memory with 800 MB of features and memory_mib=256, MB", lambda r: r["streaming"]["peak"], "<=", 629),
    ("waiting for these features / step time", lambda r: r["streaming"]["share"], "<=", 0.1),
    ("captioner --help / import click", lambda r: over(r["startup"], "ours", "import click"), "<=", 1.5),
]


def check(results: Results) -> list[Results]:
    """Check every target; `got` and `reached` are None if it was not measured."""
    checked = []
    for name, read, sign, limit in TARGETS:
        try:
            got = float(read(results))
        except KeyError:
            got = None
        reached = None if got is None else SIGNS[sign](got, limit)
        checked.append({"name": name, "target": f"{sign} {limit}", "got": got, "reached": reached})
    return checked
