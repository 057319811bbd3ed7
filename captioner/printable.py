"""Names and texts in messages: escape untrusted ones for a terminal, and find similar names."""

from __future__ import annotations

from collections.abc import Iterable

JOINERS = "\u200c\u200d"
"""Zero-width characters that Arabic and Indic scripts need."""
LIMIT = 4096
"""The maximum length of a path on Linux."""
LONGEST_NAME = 255
"""Characters of a name that are compared: the maximum length of a file name."""


def printable(text: object, limit: int = LIMIT) -> str:
    """Escape unprintable characters, and shorten the text in the middle to at most `limit` characters.

    Control characters, line ends, bidirectional controls and lone surrogates become escapes such as `\\x1b`: the result
    is one line. The function is idempotent.
    """
    shown = str(text)
    if len(shown) > 2 * limit:
        shown = shown[:limit] + shown[-limit:]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() or c in JOINERS else repr(c)[1:-1] for c in shown)
    if len(shown) <= limit:
        return shown
    tail = (limit - 3) // 3
    return f"{shown[: limit - 3 - tail]}...{shown[len(shown) - tail :]}"


def quoted(value: object, limit: int = 60) -> str:
    """Return the printable `repr` of a value, with strings in quotes."""
    return printable(repr(value), limit)


def similar(name: str, names: Iterable[str], similarity: float = 0.6) -> list[str]:
    """Return the names that are at least this similar to a name, the most similar first."""
    from difflib import SequenceMatcher

    matcher = SequenceMatcher()
    matcher.set_seq2(name[:LONGEST_NAME])
    ratios: dict[str, float] = {}
    for other in names:
        matcher.set_seq1(other)
        if min(matcher.real_quick_ratio(), matcher.quick_ratio()) >= similarity:  # upper bounds
            ratios[other] = matcher.ratio()
    return sorted((other for other, ratio in ratios.items() if ratio >= similarity), key=lambda other: -ratios[other])
