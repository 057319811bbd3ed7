"""The results as Markdown tables, each with the command that prints it, and the block of docs/benchmarks.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import groupby
from statistics import geometric_mean
from typing import NamedTuple

from benchmarks import shapes
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
    alone = scaling["one"]
    shared = alone["step"] - alone["update"] - alone["noise"]
    work = shared + ranks * alone["noise"] if weak else shared / ranks + alone["noise"]
    return float(work + alone["update"] + all_reduce_seconds(ranks, alone["bytes"], rate))


def scaling_tables(scaling: Results) -> Iterator[str]:
    """Yield the table of the measurement and that of the model."""
    count, captions, megabytes = scaling["ranks"], scaling["captions"], f"{scaling['one']['bytes'] / 1e6:.1f}"
    cases = {
        "one": (f"1 rank, {captions} captions", ""),
        "weak": (f"{count} ranks, {count * captions} captions (weak)", f"{efficiency(scaling):.2f}"),
        "strong": (f"{count} ranks, {captions} captions (strong)", f"{efficiency(scaling, 'strong'):.2f}"),
    }
    head = f"{scaling['shape']}, measured | step, ms | all-reduce, ms | gradients, MB | efficiency"
    times_of = {case: [f"{1e3 * scaling[case][part]:.4g}" for part in ("step", "all-reduce")] for case in cases}
    yield table(head, ((name, *times_of[case], megabytes, value) for case, (name, value) in cases.items()))
    head = "ranks, **calculated**: all-reduce in ms, weak efficiency, strong speed-up"
    yield table(" | ".join((head, *NETWORKS)), ((str(ranks), *_calculated(scaling, ranks)) for ranks in RANKS))


def _calculated(scaling: Results, ranks: int) -> Iterator[str]:
    """Yield a cell for each network."""
    alone = scaling["one"]
    for rate in NETWORKS.values():
        weak, strong = (alone["step"] / calculated_step(scaling, ranks, rate, kind) for kind in (True, False))
        yield f"{1e3 * all_reduce_seconds(ranks, alone['bytes'], rate):.0f} ms, {weak:.2f}, {strong:.1f}x"


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
    races, peaks, parts = results["threads"], results["peaks"], results["parts"]

    def rates(amount: float, seconds: dict[str, float], form: str, of: str = "") -> str:
        """Return amounts per second for each number of threads, in units of 1e9 or of a peak."""
        rate = (amount / took / (peaks[count][of] if of else GIGA) for count, took in seconds.items())
        return each(rate, form) if amount else ""

    for name, part in parts.items():
        flops, size = part["flops"], part["bytes"]
        peak, amount = ("product", flops) if flops else (_level(results, size), size)
        seconds = {count: race[name]["median"] for count, race in races.items()}
        yield (
            name,
            f"{flops / 1e6:,.0f}" if flops else "",
            f"{size / 1e6:.1f}",
            each((1e3 * took for took in seconds.values()), ".3g"),
            rates(flops, seconds, ".0f"),
            rates(size, seconds, ".0f"),
            peak,
            rates(amount, seconds, ".0%", peak),
        )
    sums = (1e3 * sum(race[name]["median"] for name in parts) for race in races.values())
    yield ("sum of the parts", "", "", each(sums, ".3g"), "", "", "", "")
    flops, seconds = sum(part["flops"] for part in parts.values()), {n: r["ours"]["median"] for n, r in races.items()}
    whole = each((1e3 * took for took in seconds.values()), ".3g"), rates(flops, seconds, ".0f")
    yield ("whole step", f"{flops / 1e6:,.0f}", "", *whole, "", "product", rates(flops, seconds, ".0%", "product"))


def _level(results: Results, size: int) -> str:
    """Return the smallest level that holds so many bytes."""
    levels: dict[str, int] = results["levels"]
    return next((level for level, limit in levels.items() if size <= limit), "memory")


class Table(NamedTuple):
    """The title of a benchmark's tables, the threads it uses, and how to write them."""

    title: str
    threads: str
    write: Callable[[Results], Iterator[str]]


def render(results: Results, names: Collection[str] | None = None) -> str:
    """Return the tables of these benchmarks, by default of all that were measured, with notes."""
    chosen = [name for name in TABLES if name in results["measured"] and (names is None or name in names)]
    parts = [_origins(results, chosen)]
    for name in chosen:
        parts += [_caption(results, name), *TABLES[name].write(results[name])]
    parts += [f"Note on {name}: {note}." for name in chosen for note in results["measured"][name]["notes"]]
    return "\n\n".join(filter(None, parts))


def _origins(results: Results, names: list[str]) -> str:
    """Return the machine and the libraries, one line for all benchmarks that were measured with the same ones."""
    lines = {
        ", ".join(group): " · ".join(f"{key} {value}" for key, value in machine.items())
        for machine, group in groupby(names, lambda name: results["measured"][name]["machine"])
    }
    return "\\\n".join(f"{group}: {text}" if len(lines) > 1 else text for group, text in lines.items())


def _caption(results: Results, name: str) -> str:
    machine = results["measured"][name]["machine"]
    kernel = re.search(r"\((\w+)\)", machine["NumPy"])
    command = f"`python -m benchmarks --only {name}`"
    described = (machine["CPU"], f"{kernel[1] if kernel else 'unknown'} kernels", TABLES[name].threads, command)
    return f"**{TABLES[name].title}** · {' · '.join(described)}"


def _steps(steps: Results) -> Iterator[str]:
    yield _step_table(steps, [shape.key for shape in shapes.COCO], "the first ten")


def _step_table(steps: Results, keys: Collection[str], of: str) -> str:
    """Return the table of training steps, with the geometric means of some of them in its last row."""
    races = [race for step in steps.values() for part in ("threads", "loops") for race in step[part].values()]
    loops, bfloat16 = (any(name in race for race in races) for name in ("loops", "bfloat16"))
    head = ("captioner", "PyTorch best", "PyTorch eager", *["loops"] * loops, "GEMM floor", "/ best", "/ eager")
    further = (*["loops /"] * loops, *["PyTorch, bfloat16 autocast", "/ bfloat16"] * bfloat16)

    def rows() -> Iterator[Row]:
        for key, step in steps.items():
            races = {count: with_best(race) for count, race in step["threads"].items()}
            took = [times(races, name) for name in ("ours", "best", "torch eager")]
            took += [times(step["loops"], "loops")] * loops
            compared = [times(races, "floor"), *(ratios(races, "ours", name) for name in ("best", "torch eager"))]
            last = [ratios(step["loops"], "loops", "ours")] * loops
            last += [times(races, "bfloat16"), ratios(races, "ours", "bfloat16")] * bfloat16
            yield key, *took, *compared, *last
        cells = [_mean_ratio(steps, keys, "ours", name) for name in ("best", "torch eager")]
        cells += [_mean_ratio(steps, keys, "loops", "ours")] * loops
        yield f"geometric mean of {of}", *[""] * (4 + loops), *cells, *[""] * 2 * bfloat16

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
            for images, races in (("1,000 images", measured["threads"]), ("one image", measured["image"])):
                yield pair(f"{cell}, greedy, {images} / PyTorch, ms", races, "ours", "torch")
                yield pair(f"{cell}, beam 5, {images} / PyTorch, ms", races, "ours beam 5", "torch beam 5")
            yield pair(f"{cell}, beam 3 / greedy, 1,000 images, ms", measured["threads"], "ours beam 3", "ours")

    yield table("decoding | captioner | other | ratio", rows())


def _transformer(results: Results) -> Iterator[str]:
    """Yield the table of training steps, that of decoding, and that of words per second beside the LSTM."""
    steps, decoding = results["steps"], results["decoding"]
    yield _step_table(steps, steps, "all")
    counts = [key for key in decoding if key.isdigit()]

    def decoded() -> Iterator[Row]:
        for method, name in (("greedy", ""), ("beam 5", " beam 5")):
            for count in counts:
                title = f"{method}, {'one image' if count == '1' else f'{count} images'} / PyTorch, ms"
                yield pair(title, decoding[count], f"ours{name}", f"torch{name}")

    def words() -> Iterator[Row]:
        for key, step in steps.items():
            sizes = (f"{results['parameters'][key][name] / 1e6:.1f} M" for name in ("transformer", "lstm"))
            yield f"training, {key}", *sizes, *beside(step["threads"], step["words"])
        for count in counts:
            for method, name in (("greedy", ""), ("beam 5", " beam 5")):
                yield (
                    f"{method}, {count} images",
                    "",
                    "",
                    *beside(decoding[count], int(count) * decoding["words"], name),
                )

    def beside(races: Results, count: float, name: str = "") -> Row:
        """Return the words per second of both, and the ratio."""
        ours, lstm = f"ours{name}", f"lstm{name}"
        each_of = (each((count / race[who]["median"] for race in races.values()), ",.0f") for who in (ours, lstm))
        return *each_of, ratios(races, lstm, ours)

    yield table("decoding | captioner | PyTorch | ratio", decoded())
    yield table("words/s | parameters | of the LSTM | transformer | LSTM | transformer / LSTM", words())


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
        [("lstm-64-1004, MB", f"{ours:.0f}", *other), ("linear fit over the words of a batch", fit, "", "")],
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


TABLES = {
    "steps": Table("Training steps", "one / two threads", _steps),
    "decoding": Table("Decoding", "one / two threads", _decoding),
    "transformer": Table("Transformer", "one / two threads", _transformer),
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


ON_EVERY_CPU = {"steps", "decoding", "roofline"}
"""Benchmarks whose tables the page has for each CPU; it has the others once, for the CPU that was measured last."""
PAGE = "docs/benchmarks.md"
"""The page with the tables."""


def render_page(every: Sequence[Results]) -> str:
    """Return the tables of all CPUs, and the table of the files of results."""
    parts = [table("CPU | measured on | benchmarks | file in `benchmarks/`", _cpus(every))]
    tabled: set[str] = set()
    for results in every:
        names = results["measured"].keys() - (tabled - ON_EVERY_CPU)
        parts.append(f"### {results['kind']}\n\n{render(results, names)}")
        tabled |= names
    return "\n\n".join(parts)


def _cpus(every: Sequence[Results]) -> Iterator[Row]:
    for results in every:
        kind, measured = results["kind"], ", ".join(results["measured"])
        yield f"[{kind}](#{kind})", measured_on(results), measured, f"results-{kind}.json"
