"""Untrusted text (names, captions, pieces of files) made safe for a terminal: the only place that knows how."""

from __future__ import annotations

JOINERS = "\u200c\u200d"
"""Zero-width characters that belong to words of Arabic and Indic scripts; terminals know them."""
LIMIT = 4096
"""As long as a path can be: only what is hostile or damaged is longer."""


def printable(text: object, limit: int = LIMIT) -> str:
    """Escape all that is not printable, and shorten in the middle to at most `limit` characters.

    Control characters, line ends, bidirectional marks and lone surrogates become escapes such as `\\x1b`, so the result
    is one line that shows what it contains. Applying it again changes nothing.
    """
    words = str(text)
    if len(words) > 2 * limit:
        words = words[:limit] + words[-limit:]
    if not words.isprintable():
        words = "".join(c if c.isprintable() or c in JOINERS else repr(c)[1:-1] for c in words)
    if len(words) <= limit:
        return words
    tail = (limit - 3) // 3
    return f"{words[: limit - 3 - tail]}...{words[len(words) - tail :]}"


def quoted(value: object, limit: int = 60) -> str:
    """A value as Python writes it, for a message: texts in quotes."""
    return printable(repr(value), limit)
