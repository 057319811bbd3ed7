"""Exceptions with their exit codes, and what their messages contain: printable text, similar names, install commands.

Library code raises them where data enters; only `captioner.cli` prints them. A message is one line with the place, what
is wrong, expected, got, and what to try.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence

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

    def __init__(self, error: ImportError, where: str = "", extra: str = "") -> None:
        library = library_of(error) or str(error.name)
        extra = extra or LIBRARIES.get(library.partition(".")[0], "images")
        if isinstance(error, ModuleNotFoundError):
            problem = f"is not installed; try {install_command(extra)}"
        else:
            problem = f"cannot be imported ({printable(error, 200)}); install it again"
        super().__init__(f"{where}needs {library}, which {problem}")


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


def check_platform() -> None:
    """Raises: UsageError on another system than Linux, which lacks modules of Python that captioner imports."""
    if sys.platform != "linux":
        raise UsageError(f"needs Linux, got {sys.platform}; try a Linux container or, on Windows, WSL")


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


# onnxruntime 1.29 and later send usage data to Microsoft and write to the user's cache. Its function that disables this
# comes too late: only the environment, before the import, prevents both.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

LIBRARIES: Mapping[str, str] = {
    "PIL": "images",
    "onnxruntime": "images",
    "pillow_heif": "images",
    "mpi4py": "mpi",
    "jinja2": "report",
    "starlette": "web",
    "uvicorn": "web",
    "h11": "web",
}
"""Modules that captioner imports only when they are needed, and their extras."""


def library_of(error: ImportError) -> str | None:
    """Return the module of an extra whose import failed, or None for any other module.

    Raises: KeyboardInterrupt if that is why: libraries written in C turn an interrupted import into an ImportError.
    """
    if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
        raise KeyboardInterrupt from error
    if error.name and error.name.partition(".")[0] in LIBRARIES:
        return error.name
    from traceback import walk_tb

    modules = (str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in walk_tb(error.__traceback__))
    return next((name for name in modules if name in LIBRARIES), None)


def install_command(extras: str = "images") -> str:
    """Return the shell command that installs the libraries of extras, such as `images,web`.

    It names the libraries, as the folder or wheel of captioner may be gone; without installed metadata, the folder.
    """
    from importlib import metadata
    from shlex import quote

    installed = next(iter(metadata.distributions(name="captioner")), None)
    lines = "\n".join(installed.requires or () if installed else ())
    libraries = re.findall(rf"^(.+?)(?:;| and) extra == \"(?:{extras.replace(',', '|')})\"$", lines, re.MULTILINE)
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return " ".join(["pip install", *map(quote, dict.fromkeys(libraries) or [f"{folder}[{extras}]"])])
