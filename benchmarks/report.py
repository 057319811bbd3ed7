"""The block of docs/performance.md with the tables of all CPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks import tables
from benchmarks.markdown import Row, table
from benchmarks.results import Results, measured_on

PAGE = "docs/performance.md"
"""The page with the tables."""


def marks(part: str = "benchmark") -> tuple[str, str]:
    """Return the comments that begin and end a part of a page."""
    return f"<!-- {part}:begin -->", f"<!-- {part}:end -->"


def insert(page: str, text: str, part: str = "benchmark") -> str:
    """Return the page with `text` between the marks of a part; a page without these marks is unchanged."""
    begins, ends = marks(part)
    before, begin, rest = page.partition(begins)
    _, end, after = rest.partition(ends)
    return f"{before}{begin}\n{text}\n{end}{after}" if end else page


def render(every: Sequence[Results]) -> str:
    """Return all tables of the first CPU, which was measured last, and those of the training steps of the others."""
    parts = [table("CPU | measured on | benchmarks | file in `benchmarks/`", _cpus(every))]
    for results in every:
        tabled = tables.render(results) if results is every[0] else tables.render(results, ("steps",), False)
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
