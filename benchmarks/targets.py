"""The performance targets of captioner for each vendor of CPUs, checked against the results."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from statistics import geometric_mean
from typing import NamedTuple, TypeAlias

from benchmarks import shapes
from benchmarks.results import Results, efficiency, over, with_best

Target: TypeAlias = tuple[str, Callable[[Results], float], str, float]
"""A name, how to read its value from the results, a comparison sign and a bound."""

SIGNS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


class Bounds(NamedTuple):
    """Upper bounds of a step's time over PyTorch's best, mean and worst, and over the GEMM floor of lstm-64-1004."""

    mean: float
    worst: float
    floor: float


INTEL = {"1": Bounds(0.80, 0.95, 1.25), "2": Bounds(0.85, 1.0, 1.40)}
BOUNDS: Mapping[str, Mapping[str, Bounds]] = {
    "intel": INTEL,
    "amd": {"1": Bounds(0.75, 0.90, 1.30), "2": Bounds(0.78, 0.95, 1.30)},
}
"""By vendor and number of threads; other vendors have Intel's. PyTorch's MKL is faster on Intel."""
LABELS = {"1": "one thread", "2": "two threads"}


class Checked(NamedTuple):
    """A target and its value; `got` and `reached` are None if it was not measured."""

    name: str
    bound: str
    got: float | None
    reached: bool | None


def with_threads(count: str, bounds: Bounds) -> list[Target]:
    """Return the targets for a number of threads; means are geometric, over the COCO shapes."""
    label = LABELS[count]

    def steps(r: Results, theirs: str, key: str = "") -> list[float]:
        races = (r["steps"][shape.key]["threads"][count] for shape in shapes.COCO if shape.key.startswith(key))
        return [over(with_best(race), "ours", theirs) for race in races]

    def loops(r: Results, cell: str) -> float:
        shapes_of = [shape.key for shape in shapes.COCO if shape.cell == cell]
        return geometric_mean(over(r["steps"][key]["loops"][count], "loops", "ours") for key in shapes_of)

    def decoding(r: Results, cell: str, ours: str, theirs: str) -> float:
        return over(r["decoding"][cell]["threads"][count], ours, theirs)

    def to_floor(r: Results, key: str) -> float:
        return max(steps(r, "floor", key))

    return [
        (f"{label}: step / PyTorch best, mean", lambda r: geometric_mean(steps(r, "best")), "<=", bounds.mean),
        (f"{label}: step / PyTorch best, worst", lambda r: max(steps(r, "best")), "<=", bounds.worst),
        (f"{label}: step / PyTorch eager, mean", lambda r: geometric_mean(steps(r, "torch eager")), "<=", 0.65),
        (f"{label}: step / GEMM floor, lstm-64-1004", lambda r: to_floor(r, "lstm-64-1004"), "<=", bounds.floor),
        (f"{label}: step / GEMM floor, lstm-256-1004", lambda r: to_floor(r, "lstm-256-1004"), "<=", 1.15),
        (f"{label}: loops / LSTM step, mean", lambda r: loops(r, "lstm"), ">=", 5.5),
        (f"{label}: loops / RNN step, mean", lambda r: loops(r, "rnn"), ">=", 4),
        (f"{label}: LSTM greedy / PyTorch", lambda r: decoding(r, "lstm", "ours", "torch"), "<=", 0.60),
        (f"{label}: RNN greedy / PyTorch", lambda r: decoding(r, "rnn", "ours", "torch"), "<=", 0.55),
        (f"{label}: LSTM beam 3 / greedy", lambda r: decoding(r, "lstm", "ours beam 3", "ours"), "<=", 3.2),
        (f"{label}: RNN beam 3 / greedy", lambda r: decoding(r, "rnn", "ours beam 3", "ours"), "<=", 3.2),
    ]


FURTHER: list[Target] = [
    ("words/s of an epoch / of its training steps", lambda r: r["epochs"]["ratio"], ">=", 0.94),
    ("peak memory / lowest peak of PyTorch", lambda r: r["memory"]["ratio"], "<=", 0.30),
    ("peak memory, relative deviation from a linear fit over words", lambda r: r["memory"]["distance"], "<=", 0.05),
    ("read a batch of features / h5py", lambda r: over(r["features"], "ours in memory", "h5py"), "<=", 0.1),
    ("peak memory with 800 MB of features and memory_mib=256, MB", lambda r: r["streaming"]["peak"], "<=", 629),
    ("waiting for these features / step time", lambda r: r["streaming"]["share"], "<=", 0.1),
    ("captioner --help / import click", lambda r: over(r["startup"], "ours", "import click"), "<=", 1.4),
    ("efficiency of weak scaling, two ranks", lambda r: efficiency(r["scaling"]), ">=", 0.85),
    ("captioner sample of one image, s", lambda r: r["startup"]["sample"]["median"], "<=", 0.25),
]
"""Targets that are the same for all CPUs."""


def targets_of(kind: str) -> list[Target]:
    """Return the targets for a kind of CPU, such as amd-epyc-zen4."""
    bounds = BOUNDS.get(kind.partition("-")[0], INTEL)
    return [target for count in LABELS for target in with_threads(count, bounds[count])] + FURTHER


def check(results: Results) -> Iterator[Checked]:
    """Check every target for the CPU of the results."""
    for name, read, sign, limit in targets_of(results["kind"]):
        try:
            got = float(read(results))
        except KeyError:
            got = None
        yield Checked(name, f"{sign} {limit:g}", got, None if got is None else SIGNS[sign](got, limit))
