"""What can go wrong, and with which exit code the command line answers.

Library code raises one of these at the border where data enters; only `captioner.cli` turns them into a
line on stderr. A message says what, where, expected, got, and what to try - in one line.
"""

from __future__ import annotations

from collections.abc import Sequence

from captioner.printable import printable

EXTRAS = ("PIL", "onnxruntime")
"""The libraries that only photographs need."""
LONGEST = 1000
"""Characters of a message: the middle of a longer one, a long name in it, is left out."""


class CaptionerError(Exception):
    """A failure that the user can act on; the message is one complete line, safe for a terminal."""

    exit_code = 1

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message, LONGEST))


class UsageError(CaptionerError):
    """The words of the command do not fit together."""

    exit_code = 2


class MissingLibraryError(UsageError):
    """A library of the extra `images` is not installed, or cannot be imported."""

    def __init__(self, error: ImportError, where: str = "") -> None:
        install = "pip install --upgrade 'captioner[images]'"
        problem = f"cannot be imported ({printable(error, 200)})"
        if isinstance(error, ModuleNotFoundError):
            problem, install = "is not installed", install.replace("--upgrade ", "")
        super().__init__(f"{where}needs {library_of(error)}, which {problem}; try {install}")


def library_of(error: ImportError) -> str | None:
    """The library of the extra `images` that an import failed for or inside of, or None for any other module."""
    if error.name and error.name.partition(".")[0] in EXTRAS:
        return error.name
    frames, step = [], error.__traceback__
    while step is not None:
        frames.append(str(step.tb_frame.f_globals.get("__name__")).partition(".")[0])
        step = step.tb_next
    return next((name for name in frames if name in EXTRAS), None)


class ConfigError(CaptionerError):
    """One or more options are wrong; `problems` holds a line for each."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(printable(problem, LONGEST) for problem in problems)
        Exception.__init__(self, "\n".join(self.problems))


class DataError(CaptionerError):
    """Images, captions or features that cannot be used."""


class CheckpointError(CaptionerError):
    """A file that is not a whole and matching checkpoint."""


class DivergenceError(CaptionerError):
    """A loss or gradient stopped being a finite number."""
