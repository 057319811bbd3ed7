"""The results as Markdown tables, each with the command that prints it, and the block of docs/performance.md."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from statistics import geometric_mean

from benchmarks import shapes
from benchmarks.results import Results, Row, each, over, pair, ratios, spreads, table, times, with_best

PAGE = "docs/performance.md"
"""The page with the ratios of every CPU."""


def render(results: Results) -> str:
    """Return the machine, the tables of all benchmarks that were measured, and the notes."""
    parts = [_machine(results)]
    for name, write in TABLES.items():
        if name in results:
            command = f"`python -m benchmarks --only {name}`"
            parts += [f"**{name.capitalize()}** · one / two threads · {command}", write(results[name])]
    return "\n\n".join((*parts, *(f"Note: {note}." for note in results["notes"])))


def _machine(results: Results) -> str:
    return " · ".join(f"{key} {value}" for key, value in results["machine"].items())


def render_page(every: Mapping[str, Results]) -> str:
    """Return one row per CPU: geometric means of the ratios to PyTorch and to loops, and the version measured."""
    coco = [shape.key for shape in shapes.COCO]

    def rows() -> Iterator[Row]:
        for name, results in every.items():
            steps, transformers = results.get("steps", {}), results.get("transformer", {}).get("steps", {})
            decoding = {key: value for key, value in results.get("decoding", {}).items() if "threads" in value}
            yield (
                name.removesuffix(".json"),
                *(_mean_ratio(steps, coco, "ours", theirs) for theirs in ("best", "torch eager", "bfloat16")),
                _mean_ratio(steps, coco, "loops", "ours"),
                _mean_ratio(transformers, transformers, "ours", "best"),
                _mean_ratio(decoding, decoding, "ours beam 5", "torch beam 5"),
                f"{results['machine'].get('captioner', '')}, {results['machine']['on']}",
            )

    head = "file | / best | / eager | / bfloat16 | loops / | transformers / best | beam of 5 / | version, day"
    return table(head, rows())


def _steps(steps: Results) -> str:
    return _step_table(steps, [shape.key for shape in shapes.COCO], "the first ten")


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


def _decoding(decoding: Results) -> str:
    def rows() -> Iterator[Row]:
        for cell, measured in decoding.items():
            many = f"{measured.get('images', 1000):,} images"
            for images, races in ((many, measured["threads"]), ("one image", measured["image"])):
                yield pair(f"{cell}, greedy, {images} / PyTorch, ms", races, "ours", "torch")
                yield pair(f"{cell}, beam 5, {images} / PyTorch, ms", races, "ours beam 5", "torch beam 5")
            yield pair(f"{cell}, beam 3 / greedy, {many}, ms", measured["threads"], "ours beam 3", "ours")

    return table("decoding | captioner | other | ratio | spread, %", rows())


def _transformer(results: Results) -> str:
    return _step_table(results["steps"], results["steps"], "all")


TABLES = {"steps": _steps, "decoding": _decoding, "transformer": _transformer}
"""The table of every benchmark, in the order of the page."""
