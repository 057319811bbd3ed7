"""The benchmark results as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.targets import Results, over, with_best

PAGE = "docs/performance.md"
"""The page with the tables."""
BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"
REACHED = {True: "reached", False: "**missed**", None: "not measured"}
Row = tuple[str, ...]


def insert(page: str, text: str) -> str:
    """Return the page with `text` between its marks; a page without marks is unchanged."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{text}\n{end}{after}" if end else page


def render(results: Results) -> str:
    """Return all tables: training steps, comparisons, targets, ablations, and scaling with each size."""
    ideas, growth = results.get("ideas", {}), results.get("growth", {})
    names = [name for name in next(iter(ideas.values()), {}) if name != "ours"]
    parts = [
        _origin(results),
        _table(
            "step, ms | captioner | PyTorch best | PyTorch eager | loops | GEMM floor | / best | / eager | loops /",
            _steps(results.get("steps", {})),
        ),
        _table("measurement | captioner | other | ratio", _others(results)),
        _table("target | bound | measured | ", _targets(results["targets"])),
        _table(
            f"disabled idea: increase of the step time | {' | '.join(ideas)}",
            ((name, *_without(ideas, name)) for name in names),
        ),
        *(
            _table(
                f"{letter} | {' | '.join(str(row['size']) for row in rows)}",
                [
                    ("words per batch", *(f"{row['words']:,}" for row in rows)),
                    ("captioner, ms", *(_ms(row["ours"]) for row in rows)),
                    ("GEMM floor, ms", *(_ms(row["floor"]) for row in rows)),
                ],
            )
            for letter, rows in growth.items()
        ),
        *(f"Note: {note}." for note in results["notes"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _origin(results: Results) -> str:
    machine = " · ".join(f"{name} {value}" for name, value in results["machine"].items())
    return f"`{results['command']}` · {machine}"


def _ms(took: Results) -> str:
    return f"{1e3 * took['median']:.4g}"


def _without(ideas: Results, name: str) -> Iterator[str]:
    return (f"{100 * (over(race, name, 'ours') - 1):+.0f} %" for race in ideas.values())


def _table(head: str, rows: Iterable[Row]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join((f"| {head} |", "|---" * (head.count(" | ") + 1) + "|", *lines)) if lines else ""


def _times(races: Results, name: str, unit: float = 1e3) -> str:
    """Return a contender's median for each number of threads in which it was measured."""
    return " / ".join(f"{unit * race[name]['median']:.4g}" for race in races.values() if name in race)


def _ratios(races: Results, ours: str, theirs: str) -> str:
    return " / ".join(f"{over(race, ours, theirs):.2f}" for race in races.values() if theirs in race)


def _steps(steps: Results) -> Iterator[Row]:
    for key, step in steps.items():
        races = {count: with_best(race) for count, race in step["threads"].items()}
        times = [_times(races, name) for name in ("ours", "best", "torch eager", "floor")]
        times.insert(3, _times(step["loops"], "loops"))
        ratios = (_ratios(races, "ours", "best"), _ratios(races, "ours", "torch eager"))
        yield (key, *times, *ratios, _ratios(step["loops"], "loops", "ours"))


def _others(results: Results) -> Iterator[Row]:
    def pair(title: str, races: Results, ours: str, theirs: str, unit: float = 1e3) -> Row:
        return (title, _times(races, ours, unit), _times(races, theirs, unit), _ratios(races, ours, theirs))

    for cell, decoding in results.get("decoding", {}).items():
        for images, races in (("1,000 images", decoding["threads"]), ("one image", decoding["image"])):
            yield pair(f"{cell}, greedy, {images} / PyTorch, ms", races, "ours", "torch")
            yield pair(f"{cell}, beam 5, {images} / PyTorch, ms", races, "ours beam 5", "torch beam 5")
    if epoch := results.get("epochs"):
        words = (f"{epoch[key]:,.0f}" for key in ("words_per_second", "of_steps"))
        what = f"training on {epoch['data']}: whole epoch / training steps only, words/s"
        yield (what, *words, f"{epoch['ratio']:.2f}")
    if features := results.get("features"):
        for way, ours in (("from the file", "ours"), ("in memory", "ours in memory")):
            yield pair(f"read 64 feature rows, {way} / h5py, µs", {"": features}, ours, "h5py", 1e6)
            peaks = (f"{features[name]['peak']:.0f}" for name in (ours, "h5py"))
            yield (f"peak memory of reading all rows, {way} / h5py, MB", *peaks, "")
    if streaming := results.get("streaming"):
        what = f"training on {streaming['megabytes']:.0f} MB of features, memory_mib={streaming['budget']}"
        yield (f"{what}: peak memory, MB", f"{streaming['peak']:.0f}", "", "")
        yield (f"{what}: share of the step time spent waiting for features", f"{streaming['share']:.1%}", "", "")
    if memory := results.get("memory"):
        ours, *theirs = memory["peak"].values()
        peer = (f"{min(theirs):.0f}", f"{ours / min(theirs):.2f}") if theirs else ("", "")
        yield ("peak training memory, lstm-64-1004 / PyTorch's lowest, MB", f"{ours:.0f}", *peer)
        fit = f"{memory['base']:.0f} MB + {memory['kb_a_word']:.1f} kB per word"
        yield ("peak training memory, linear fit over the words of a batch", fit, "", "")
    if startup := results.get("startup"):
        yield pair("`captioner --help` / `import click`, ms", {"": startup}, "ours", "import click")
        yield ("`captioner sample` for one image, ms", _times({"": startup}, "sample"), "", "")
        yield ("load a checkpoint and caption one image, ms", _times({"": startup}, "load and caption"), "", "")


def _targets(targets: list[Results]) -> Iterator[Row]:
    for target in targets:
        got = "" if target["got"] is None else f"{target['got']:.3g}"
        yield (target["name"], target["target"], got, REACHED[target["reached"]])
