"""The results as Markdown tables, each with the command that prints it, and the block of docs/performance.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from benchmarks import targets
from benchmarks.results import (
    Results,
    Row,
    each,
    efficiency,
    measured_on,
    milliseconds,
    over,
    pair,
    ratios,
    table,
    times,
    with_best,
)

RANKS = (4, 8, 16, 32, 64)
NETWORKS = {"1 GbE": 1e9 / 8, "10 GbE": 1e10 / 8, "25 GbE": 25e9 / 8}
"""Bytes per second at line rate."""
LATENCY = 50e-6
"""Seconds of one message over TCP."""


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


GIGA = 1e9


def roofline(results: Results) -> Iterator[str]:
    """Yield the table of the peaks and that of the parts of a step."""
    peaks = results["peaks"]
    names = [("product", "GFLOP/s"), *((level, "GB/s") for level in results["levels"])]
    head = (f"{name}, {unit}" for name, unit in names)
    measured = (each((rates[name] / GIGA for rates in peaks.values()), ".0f") for name, _ in names)
    yield table(" | ".join(("peaks", *head)), [("of the machine", *measured)])
    yield table("part of a step | MFLOP | MB | ms | GFLOP/s | GB/s | peak | share of the peak", _roofline_rows(results))


def _roofline_rows(results: Results) -> Iterator[Row]:
    races = results["threads"]
    for name, part in results["parts"].items():
        peak, amount = ("product", part["flops"]) if part["flops"] else (_level(results, part["bytes"]), part["bytes"])
        seconds = {count: race[name]["median"] for count, race in races.items()}
        shares = (amount / took / results["peaks"][count][peak] for count, took in seconds.items())
        yield (
            name,
            f"{part['flops'] / 1e6:,.0f}" if part["flops"] else "",
            f"{part['bytes'] / 1e6:.1f}",
            each((1e3 * took for took in seconds.values()), ".3g"),
            each((part["flops"] / took / GIGA for took in seconds.values()), ".0f") if part["flops"] else "",
            each((part["bytes"] / took / GIGA for took in seconds.values()), ".0f"),
            peak,
            each(shares, ".0%"),
        )
    whole = {count: race["ours"]["median"] for count, race in races.items()}
    parts = {count: sum(race[name]["median"] for name in results["parts"]) for count, race in races.items()}
    flops = sum(part["flops"] for part in results["parts"].values())
    shares = (flops / took / results["peaks"][count]["product"] for count, took in whole.items())
    yield ("sum of the parts", "", "", each((1e3 * took for took in parts.values()), ".3g"), "", "", "", "")
    yield (
        "whole step",
        f"{flops / 1e6:,.0f}",
        "",
        each((1e3 * took for took in whole.values()), ".3g"),
        each((flops / took / GIGA for took in whole.values()), ".0f"),
        "",
        "product",
        each(shares, ".0%"),
    )


def _level(results: Results, size: int) -> str:
    """Return the smallest level that holds so many bytes."""
    levels: dict[str, int] = results["levels"]
    return next((level for level, limit in levels.items() if size <= limit), "memory")


class Table(NamedTuple):
    """The title of a benchmark's tables, the threads it uses, and how to write them."""

    title: str
    threads: str
    write: Callable[[Results], Iterator[str]]


def render(results: Results, names: Collection[str] | None = None, with_targets: bool = True) -> str:
    """Return the tables of these benchmarks, by default of all that were measured and of the targets, with notes."""
    chosen = [name for name in TABLES if name in results["measured"] and (names is None or name in names)]
    parts = [_origins(results, chosen)]
    for name in chosen:
        parts += [_caption(results, name), *TABLES[name].write(results[name])]
    if with_targets:
        parts += [f"**Targets** for {results['kind']}", table("target | bound | measured | ", _targets(results))]
    parts += [f"Note on {name}: {note}." for name in chosen for note in results["measured"][name]["notes"]]
    return "\n\n".join(filter(None, parts))


def _origins(results: Results, names: list[str]) -> str:
    """Return the machine and the libraries, one line for all benchmarks that were measured with the same ones."""
    groups = [
        (machine, ", ".join(some))
        for machine, some in groupby(names, lambda name: results["measured"][name]["machine"])
    ]
    described = [" · ".join(f"{key} {value}" for key, value in machine.items()) for machine, _ in groups]
    if len(groups) == 1:
        return described[0]
    return "\\\n".join(f"{some}: {text}" for (_, some), text in zip(groups, described, strict=True))


def _caption(results: Results, name: str) -> str:
    machine = results["measured"][name]["machine"]
    kernel = re.search(r"\((\w+)\)", machine["NumPy"])
    command = f"`python -m benchmarks --only {name}`"
    described = (machine["CPU"], f"{kernel[1] if kernel else 'unknown'} kernels", TABLES[name].threads, command)
    return f"**{TABLES[name].title}** · {' · '.join(described)}"


def _steps(steps: Results) -> Iterator[str]:
    bfloat16 = any("bfloat16" in race for step in steps.values() for race in step["threads"].values())
    head = ("captioner", "PyTorch best", "PyTorch eager", "loops", "GEMM floor", "/ best", "/ eager", "loops /")
    further = ("PyTorch, bfloat16 autocast", "/ bfloat16") if bfloat16 else ()

    def rows() -> Iterator[Row]:
        for key, step in steps.items():
            races = {count: with_best(race) for count, race in step["threads"].items()}
            took = [times(races, name) for name in ("ours", "best", "torch eager", "floor")]
            took.insert(3, times(step["loops"], "loops"))
            compared = [ratios(races, "ours", name) for name in ("best", "torch eager")]
            last = (times(races, "bfloat16"), ratios(races, "ours", "bfloat16")) if bfloat16 else ()
            yield key, *took, *compared, ratios(step["loops"], "loops", "ours"), *last

    yield table(" | ".join(("step, ms", *head, *further)), rows())


def _decoding(decoding: Results) -> Iterator[str]:
    def rows() -> Iterator[Row]:
        for cell, measured in decoding.items():
            for images, races in (("1,000 images", measured["threads"]), ("one image", measured["image"])):
                yield pair(f"{cell}, greedy, {images} / PyTorch, ms", races, "ours", "torch")
                yield pair(f"{cell}, beam 5, {images} / PyTorch, ms", races, "ours beam 5", "torch beam 5")
            yield pair(f"{cell}, beam 3 / greedy, 1,000 images, ms", measured["threads"], "ours beam 3", "ours")

    yield table("decoding | captioner | other | ratio", rows())


def _epochs(epoch: Results) -> Iterator[str]:
    words = (f"{epoch[key]:,.0f}" for key in ("words_per_second", "of_steps"))
    yield table(
        "words/s | whole epoch | training steps only | ratio",
        [(f"training on {epoch['data']}", *words, f"{epoch['ratio']:.2f}")],
    )


def _features(features: Results) -> Iterator[str]:
    def rows() -> Iterator[Row]:
        for way, ours in (("from the file", "ours"), ("in memory", "ours in memory")):
            yield pair(f"read 64 feature rows, {way} / h5py, µs", {"": features}, ours, "h5py", 1e6)
            peaks = (f"{features[name]['peak']:.0f}" for name in (ours, "h5py"))
            yield f"peak memory of reading all rows, {way} / h5py, MB", *peaks, ""

    yield table("reading | captioner | h5py | ratio", rows())


def _streaming(streaming: Results) -> Iterator[str]:
    what = f"training on {streaming['megabytes']:.0f} MB of features, memory_mib={streaming['budget']}"
    yield table(
        "measurement | captioner",
        [
            (f"{what}: peak memory, MB", f"{streaming['peak']:.0f}"),
            (f"{what}: share of the step time spent waiting for features", f"{streaming['share']:.1%}"),
        ],
    )


def _memory(memory: Results) -> Iterator[str]:
    ours, *theirs = memory["peak"].values()
    other = (f"{min(theirs):.0f}", f"{ours / min(theirs):.2f}") if theirs else ("", "")
    fit = f"{memory['base']:.0f} MB + {memory['kb_a_word']:.1f} kB per word"
    yield table(
        "peak training memory | captioner | PyTorch's lowest | ratio",
        [
            ("lstm-64-1004, MB", f"{ours:.0f}", *other),
            ("linear fit over the words of a batch", fit, "", ""),
        ],
    )


def _startup(startup: Results) -> Iterator[str]:
    races = {"": startup}
    yield table(
        "start-up, ms | captioner | other | ratio",
        [
            pair("`captioner --help` / `import click`", races, "ours", "import click"),
            ("`captioner sample` for one image", times(races, "sample"), "", ""),
            ("load a checkpoint and caption one image", times(races, "load and caption"), "", ""),
        ],
    )


def _ideas(ideas: Results) -> Iterator[str]:
    names = [name for name in next(iter(ideas.values())) if name != "ours"]
    increases = ((f"{100 * (over(race, name, 'ours') - 1):+.0f} %" for race in ideas.values()) for name in names)
    rows = ((name, *row) for name, row in zip(names, increases, strict=True))
    yield table(f"disabled idea: increase of the step time | {' | '.join(ideas)}", rows)


def _growth(growth: Results) -> Iterator[str]:
    for letter, rows in growth.items():
        yield table(
            f"{letter} | {' | '.join(str(row['size']) for row in rows)}",
            [
                ("words per batch", *(f"{row['words']:,}" for row in rows)),
                ("captioner, ms", *(milliseconds(row["ours"]) for row in rows)),
                ("GEMM floor, ms", *(milliseconds(row["floor"]) for row in rows)),
            ],
        )


def _targets(results: Results) -> Iterator[Row]:
    for target in targets.check(results):
        if target.got is not None:
            yield target.name, target.bound, f"{target.got:.3g}", "reached" if target.reached else "**missed**"


TABLES = {
    "steps": Table("Training steps", "one / two threads", _steps),
    "decoding": Table("Decoding", "one / two threads", _decoding),
    "epochs": Table("A whole epoch", "one thread", _epochs),
    "features": Table("Reading features", "one thread", _features),
    "streaming": Table("Features larger than the memory budget", "one thread", _streaming),
    "memory": Table("Peak memory", "one thread", _memory),
    "startup": Table("Start-up", "default threads", _startup),
    "roofline": Table("Roofline of a step of lstm-64-1004", "one / two threads", roofline),
    "ideas": Table("Contribution of each idea", "one thread", _ideas),
    "growth": Table("Scaling with N, T, H and V", "one thread", _growth),
    "scaling": Table("Training over MPI", "one thread per rank", scaling_tables),
}
"""The tables of every benchmark, in the order of the page."""


PAGE = "docs/performance.md"
"""The page with the tables."""


def render_page(every: Sequence[Results]) -> str:
    """Return all tables of the first CPU, which was measured last, and those of the training steps of the others."""
    parts = [table("CPU | measured on | benchmarks | file in `benchmarks/`", _cpus(every))]
    for results in every:
        tabled = render(results) if results is every[0] else render(results, ("steps",), False)
        parts.append(f"### {results['kind']}\n\n{tabled}")
    return "\n\n".join(parts)


def _cpus(every: Sequence[Results]) -> Iterator[Row]:
    for results in every:
        measured = ", ".join(results["measured"])
        yield (
            f"[{results['kind']}](#{results['kind']})",
            measured_on(results),
            measured,
            f"results-{results['kind']}.json",
        )
