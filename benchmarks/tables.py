"""The results as Markdown tables, each with the command that prints it, and the block of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import groupby
from statistics import geometric_mean
from typing import NamedTuple

from benchmarks import shapes
from benchmarks.results import (
    Results,
    Row,
    each,
    measured_on,
    over,
    pair,
    ratios,
    spreads,
    table,
    times,
    with_best,
)


class Table(NamedTuple):
    """The title of a benchmark's tables, and how to write them."""

    title: str
    write: Callable[[Results], Iterator[str]]


def render(results: Results, names: Collection[str] | None = None, brief: Collection[str] = ()) -> str:
    """Return the tables of these benchmarks, by default of all that were measured, with notes; `brief` have one row."""
    chosen = [name for name in TABLES if name in results["measured"] and (names is None or name in names)]
    parts = [_origins(results, chosen)]
    for name in chosen:
        written = TABLES[name].write(results[name])
        parts += [_caption(name), *(map(_last_row, written) if name in brief else written)]
    parts += [f"Note on {name}: {note}." for name in chosen for note in results["measured"][name]["notes"]]
    return "\n\n".join(filter(None, parts))


def _last_row(text: str) -> str:
    """Return a table without its rows but the last."""
    head, rows = text.splitlines()[:2], text.splitlines()[2:]
    return "\n".join((*head, *rows[-1:]))


def _origins(results: Results, names: list[str]) -> str:
    """Return the machine and the libraries, one line for all benchmarks that were measured with the same ones."""
    lines = {
        ", ".join(group): " · ".join(f"{key} {value}" for key, value in machine.items())
        for machine, group in groupby(names, lambda name: results["measured"][name]["machine"])
    }
    if len(lines) == 1 and " · session " in (text := next(iter(lines.values()))):
        return f"{text} · all tables are from this session"
    return "\\\n".join(f"{group}: {text}" if len(lines) > 1 else text for group, text in lines.items())


def _caption(name: str) -> str:
    return f"**{TABLES[name].title}** · one / two threads · `python -m benchmarks --only {name}`"


def _steps(steps: Results) -> Iterator[str]:
    yield _step_table(steps, [shape.key for shape in shapes.COCO], "the first ten")


def _step_table(steps: Results, keys: Collection[str], of: str) -> str:
    """Return the table of training steps, with the geometric means of some of them in its last row."""
    races = [race for step in steps.values() for part in ("threads", "loops") for race in step[part].values()]
    loops, bfloat16 = (any(name in race for race in races) for name in ("loops", "bfloat16"))
    head = ("captioner", "PyTorch best", "PyTorch eager", *["loops"] * loops, "GEMM floor", "/ best", "/ eager")
    further = (*["loops /"] * loops, *["PyTorch, bfloat16 autocast", "/ bfloat16"] * bfloat16, "spread, %")

    def rows() -> Iterator[Row]:
        for key, step in steps.items():
            races = {count: with_best(race) for count, race in step["threads"].items()}
            took = [times(races, name) for name in ("ours", "best", "torch eager")]
            took += [times(step["loops"], "loops")] * loops
            compared = [times(races, "floor"), *(ratios(races, "ours", name) for name in ("best", "torch eager"))]
            last = [ratios(step["loops"], "loops", "ours")] * loops
            last += [times(races, "bfloat16"), ratios(races, "ours", "bfloat16")] * bfloat16
            yield key, *took, *compared, *last, spreads(races, "ours", "best", "torch eager", "floor")
        cells = [_mean_ratio(steps, keys, "ours", name) for name in ("best", "torch eager")]
        cells += [_mean_ratio(steps, keys, "loops", "ours")] * loops
        yield f"geometric mean of {of}", *[""] * (4 + loops), *cells, *[""] * (2 * bfloat16 + 1)

    return table(" | ".join(("step, ms", *head, *further)), rows())


def _mean_ratio(steps: Results, keys: Collection[str], ours: str, theirs: str) -> str:
    """Return the geometric mean of the ratios of these steps, for each number of threads."""
    races: dict[str, list[float]] = {}
    for key in keys:
        for count, race in steps.get(key, {}).get("loops" if ours == "loops" else "threads", {}).items():
            if {ours, theirs} <= with_best(race).keys():
                races.setdefault(count, []).append(over(with_best(race), ours, theirs))
    return each((geometric_mean(values) for values in races.values()), ".2f")


def _decoding(decoding: Results) -> Iterator[str]:
    def rows() -> Iterator[Row]:
        for cell, measured in decoding.items():
            many = f"{measured.get('images', 1000):,} images"
            for images, races in ((many, measured["threads"]), ("one image", measured["image"])):
                yield pair(f"{cell}, greedy, {images} / PyTorch, ms", races, "ours", "torch")
                yield pair(f"{cell}, beam 5, {images} / PyTorch, ms", races, "ours beam 5", "torch beam 5")
            yield pair(f"{cell}, beam 3 / greedy, {many}, ms", measured["threads"], "ours beam 3", "ours")

    yield table("decoding | captioner | other | ratio | spread, %", rows())


def _transformer(results: Results) -> Iterator[str]:
    yield _step_table(results["steps"], results["steps"], "all")


TABLES = {
    "steps": Table("Training steps", _steps),
    "decoding": Table("Decoding", _decoding),
    "transformer": Table("Transformer", _transformer),
}
"""The tables of every benchmark, in the order of the page."""


ON_EVERY_CPU = {"steps"}
"""Benchmarks whose last row the page has for each CPU; each table is of the CPU on which it was measured last."""
PAGE = "docs/benchmarks.md"
"""The page with the tables."""


def render_page(every: Sequence[Results]) -> str:
    """Return the tables of all CPUs, and the table of the files of results."""
    parts = [table("CPU | measured on | benchmarks | file in `benchmarks/`", _cpus(every))]
    tabled: set[str] = set()
    for results in every:
        names = results["measured"].keys() - (tabled - ON_EVERY_CPU)
        parts.append(f"### {results['kind']}\n\n{render(results, names, names & tabled)}")
        tabled |= names
    return "\n\n".join(parts)


def _cpus(every: Sequence[Results]) -> Iterator[Row]:
    for results in every:
        kind, measured = results["kind"], ", ".join(name for name in results["measured"] if name in TABLES)
        yield f"[{kind}](#{kind})", measured_on(results), measured, f"results-{kind}.json"
