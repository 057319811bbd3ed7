"""The exceptions of captioner and their exit codes.

Library code raises them where data enters; only `captioner.cli` prints them. A message is one line with the place, what
is wrong, expected, got, and what to try.
"""

from __future__ import annotations

from collections.abc import Sequence

from captioner.extras import LIBRARIES, install_command, library_of
from captioner.printable import printable

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


class MergeError(ProblemsError):
    """One or more data sets that cannot be merged."""


class DataError(CaptionerError):
    """Invalid images, captions or features."""


class CheckpointError(CaptionerError):
    """A damaged, unsupported or mismatched checkpoint."""


class DivergenceError(CaptionerError):
    """A loss, gradient or parameter that is not finite."""
