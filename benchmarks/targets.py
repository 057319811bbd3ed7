"""What captioner has set out to reach, read from the results."""

from __future__ import annotations

import operator
from collections.abc import Callable
from statistics import geometric_mean
from typing import Any, TypeAlias

from benchmarks import shapes

Results: TypeAlias = dict[str, Any]
Target: TypeAlias = tuple[str, Callable[[Results], float], str, float]
"""A name, the number to read from the results, and its limit."""

SIGNS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


def over(race: Results, ours: str, theirs: str) -> float:
    """The median time of one over that of another in the same race."""
    return float(race[ours]["median"] / race[theirs]["median"])


def with_best(race: Results) -> Results:
    """A race where the fastest of PyTorch's ways stands under `best` too, if any was measured."""
    ways = [took for name, took in race.items() if name.startswith("torch")]
    return race | {"best": min(ways, key=lambda took: took["median"])} if ways else race


def with_threads(count: str, words: str, mean: float, worst: float) -> list[Target]:
    """The targets of a number of threads; means are geometric, over COCO's shapes."""

    def steps(r: Results, theirs: str, key: str = "") -> list[float]:
        races = (r["steps"][shape.key]["threads"][count] for shape in shapes.COCO if shape.key.startswith(key))
        return [over(with_best(race), "ours", theirs) for race in races]

    def loops(r: Results, cell: str) -> float:
        shapes_of = [shape.key for shape in shapes.COCO if shape.cell == cell]
        return geometric_mean(over(r["steps"][key]["loops"][count], "loops", "ours") for key in shapes_of)

    def decoding(r: Results, cell: str, ours: str, theirs: str) -> float:
        return over(r["decoding"][cell]["threads"][count], ours, theirs)

    return [
        (f"{words}: step / PyTorch best, mean", lambda r: geometric_mean(steps(r, "best")), "<=", mean),
        (f"{words}: step / PyTorch best, worst", lambda r: max(steps(r, "best")), "<=", worst),
        (f"{words}: step / plain eager, mean", lambda r: geometric_mean(steps(r, "torch eager")), "<=", 0.65),
        (f"{words}: step / GEMM floor, lstm-64-1004", lambda r: max(steps(r, "floor", "lstm-64-1004")), "<=", 1.30),
        (f"{words}: step / GEMM floor, lstm-256-1004", lambda r: max(steps(r, "floor", "lstm-256-1004")), "<=", 1.15),
        (f"{words}: loops / LSTM step, mean", lambda r: loops(r, "lstm"), ">=", 5.5),
        (f"{words}: loops / RNN step, mean", lambda r: loops(r, "rnn"), ">=", 4),
        (f"{words}: LSTM greedy / PyTorch", lambda r: decoding(r, "lstm", "ours", "torch"), "<=", 0.64),
        (f"{words}: RNN greedy / PyTorch", lambda r: decoding(r, "rnn", "ours", "torch"), "<=", 0.55),
        (f"{words}: LSTM beam 3 / greedy", lambda r: decoding(r, "lstm", "ours beam 3", "ours"), "<=", 3.2),
        (f"{words}: RNN beam 3 / greedy", lambda r: decoding(r, "rnn", "ours beam 3", "ours"), "<=", 3.2),
    ]


TARGETS: list[Target] = [
    *with_threads("1", "one thread", 0.78, 0.90),
    *with_threads("2", "two threads", 0.79, 1.0),
    ("words/s of an epoch / of its steps", lambda r: r["epochs"]["ratio"], ">=", 0.92),
    ("peak memory / PyTorch's least", lambda r: r["memory"]["ratio"], "<=", 0.30),
    ("peak memory's distance from a line over words", lambda r: r["memory"]["distance"], "<=", 0.05),
    ("batch of features / h5py", lambda r: over(r["features"], "ours in memory", "h5py"), "<=", 0.1),
    ("peak memory with 800 MB of features and 256 MiB for them, MB", lambda r: r["streaming"]["peak"], "<=", 629),
    ("waiting for these features / step", lambda r: r["streaming"]["share"], "<=", 0.1),
    ("captioner --help / import click", lambda r: over(r["startup"], "ours", "import click"), "<=", 1.5),
]


def judge(results: Results) -> list[Results]:
    """Every target: `got` and `reached` are None where it was not measured."""
    judged = []
    for name, read, sign, limit in TARGETS:
        try:
            got = float(read(results))
        except KeyError:
            got = None
        reached = None if got is None else SIGNS[sign](got, limit)
        judged.append({"name": name, "target": f"{sign} {limit}", "got": got, "reached": reached})
    return judged
