"""The exceptions of captioner with their exit codes, and the texts in messages: escaped for a terminal, similar names.

Library code raises them where data enters; only `captioner.cli` prints them. A message is one line with the place, what
is wrong, expected, got, and what to try.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from captioner.extras import LIBRARIES, install_command, library_of

LONGEST = 1000
"""Maximum characters of a message; the middle of a longer one is replaced by `...`."""
JOINERS = "\u200c\u200d"
"""Zero-width characters that Arabic and Indic scripts need."""
LIMIT = 4096
"""The maximum length of a path on Linux."""
LONGEST_NAME = 255
"""Characters of a name that are compared: the maximum length of a file name."""


class CaptionerError(Exception):
    """An error that the user can fix; the message is one line, safe for a terminal."""

    exit_code = 1

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message, LONGEST))


class UsageError(CaptionerError):
    """An invalid combination of arguments or options."""

    exit_code = 2


class MissingLibraryError(UsageError):
    """A library of an extra that is missing or cannot be imported."""

    def __init__(self, error: ImportError, where: str = "") -> None:
        library = library_of(error) or str(error.name)
        extra = LIBRARIES.get(library.partition(".")[0], "images")
        problem, install = f"cannot be imported ({printable(error, 200)})", install_command(extra, "--upgrade")
        if isinstance(error, ModuleNotFoundError):
            problem, install = "is not installed", install_command(extra)
        super().__init__(f"{where}needs {library}, which {problem}; try {install}")


class ProblemsError(CaptionerError):
    """One or more problems that are reported together; `problems` has one line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(printable(problem, LONGEST) for problem in problems)
        Exception.__init__(self, "\n".join(self.problems))


class ConfigError(ProblemsError):
    """One or more invalid options."""

    exit_code = 2


class DataError(CaptionerError):
    """Invalid images, captions or features."""


class CheckpointError(CaptionerError):
    """A damaged, unsupported or mismatched checkpoint."""


class DivergenceError(CaptionerError):
    """A loss, gradient or parameter that is not finite."""


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
