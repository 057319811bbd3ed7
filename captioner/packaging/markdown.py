"""Markdown from untrusted text: each text is one line, and its characters mean nothing but themselves."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from captioner.printable import printable

SPECIAL = re.compile(r"([\\`*_\[\]|~$])")
"""Characters that have a meaning inside a line."""
LONGEST = 2000


def escaped(text: object, limit: int = LONGEST) -> str:
    """Escape a text for use inside a line: no Markdown, no HTML, no line end."""
    line = printable(" ".join(str(text).split()), limit)
    return html.escape(SPECIAL.sub(r"\\\1", line), quote=False)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; the cells are Markdown."""
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows)]


def code(language: str, text: str) -> list[str]:
    """Return the lines of a code block. No line of the text may start with a fence."""
    return [f"```{language}", *text.splitlines(), "```"]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
