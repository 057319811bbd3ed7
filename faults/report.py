"""Render the results as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from faults.session import Figure, Row
from faults.watch import ESCAPED

BEGIN, END = "<!-- faults:begin -->", "<!-- faults:end -->"
Results: TypeAlias = dict[str, Any]


def insert(page: str, text: str) -> str:
    """Return the page with `text` between its marks; a page without marks is unchanged."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{text}\n{end}{after}" if end else page


def line(found: Row | Figure) -> str:
    """One row of the table."""
    return f"| {' | '.join(_cells(found))} |"


def render(results: Results) -> str:
    """Return the command, the machine, the table and the failures."""
    machine = " · ".join(f"{name} {value}" for name, value in results["machine"].items() if name != "PyTorch")
    table = [
        "| fault | required outcome | trials | outcomes | failures |",
        "|---|---|---|---|---|",
        *map(line, results["rows"]),
    ]
    notes = [f"Note: {note}." for note in results["notes"]]
    notes += [f"Escaped: {found['fault']}: {note}" for found in results["rows"] for note in found.get("notes", ())]
    return "\n\n".join((f"`{results['command']}` · seed {results['seed']} · {machine}", "\n".join(table), *notes))


def escaped(results: Results) -> bool:
    """Return whether any trial failed or a measurement exceeds its bound."""
    return any(found["escaped"] if "escaped" in found else found["got"] > found["most"] for found in results["rows"])


def _cells(found: Row | Figure) -> Iterator[str]:
    if "fault" in found:
        ended = ", ".join(f"{count:,} {kind}" for kind, count in found["ended"].items() if kind not in ESCAPED)
        failures = ", ".join(f"**{count:,} {kind}**" for kind, count in found["ended"].items() if kind in ESCAPED)
        yield from (found["fault"], found["must"], f"{found['trials']:,}", ended, failures or "0")
    else:
        over = "" if found["got"] <= found["most"] else " **missed**"
        yield from (found["what"], f"at most {found['most']:g} {found['unit']}", "")
        yield from (f"{found['got']:.3g} {found['unit']}{over}", "")
