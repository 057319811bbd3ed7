"""Escape untrusted text, such as file names and captions, for a terminal."""

from __future__ import annotations

JOINERS = "\u200c\u200d"
"""Zero-width characters that Arabic and Indic scripts need."""
LIMIT = 4096
"""The maximum length of a path on Linux."""


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
