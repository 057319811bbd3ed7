"""The exceptions of captioner and their exit codes.

Library code raises them where data enters; only `captioner.cli` prints them. A message is one line with the place, what
is wrong, expected, got, and what to try.
"""

from __future__ import annotations

from collections.abc import Sequence
from traceback import walk_tb

from captioner.printable import printable

EXTRAS = ("PIL", "onnxruntime")
"""Libraries of the extra `images`."""
LONGEST = 1000
"""Maximum characters of a message; the middle of a longer one is replaced by `...`."""


class CaptionerError(Exception):
    """An error that the user can fix; the message is one line, safe for a terminal."""

    exit_code = 1

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message, LONGEST))


class UsageError(CaptionerError):
    """An invalid combination of arguments or options."""

    exit_code = 2


class MissingLibraryError(UsageError):
    """A library of the extra `images` that is missing or cannot be imported."""

    def __init__(self, error: ImportError, where: str = "") -> None:
        install = "pip install --upgrade 'captioner[images]'"
        problem = f"cannot be imported ({printable(error, 200)})"
        if isinstance(error, ModuleNotFoundError):
            problem, install = "is not installed", install.replace("--upgrade ", "")
        super().__init__(f"{where}needs {library_of(error)}, which {problem}; try {install}")


def library_of(error: ImportError) -> str | None:
    """Return the library of the extra `images` whose import failed, or None for any other module."""
    if error.name and error.name.partition(".")[0] in EXTRAS:
        return error.name
    modules = (str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in walk_tb(error.__traceback__))
    return next((name for name in modules if name in EXTRAS), None)


class ConfigError(CaptionerError):
    """One or more invalid options; `problems` has one line for each."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(printable(problem, LONGEST) for problem in problems)
        Exception.__init__(self, "\n".join(self.problems))


class DataError(CaptionerError):
    """Invalid images, captions or features."""


class CheckpointError(CaptionerError):
    """A damaged, unsupported or mismatched checkpoint."""


class DivergenceError(CaptionerError):
    """A loss, gradient or parameter that is not finite."""
