"""What can go wrong, and with which exit code the command line answers.

Library code raises one of these at the border where data enters; only `captioner.cli` turns them into a
line on stderr. A message says what, where, expected, got, and what to try - in one line.
"""

from __future__ import annotations

from collections.abc import Sequence


class CaptionerError(Exception):
    """A failure that the user can act on; the message is one complete line."""

    exit_code = 1


class UsageError(CaptionerError):
    """The words of the command do not fit together."""

    exit_code = 2


class MissingLibraryError(UsageError):
    """A library of the extra `images` is not installed."""

    def __init__(self, missing: ModuleNotFoundError, where: str = "") -> None:
        super().__init__(f"{where}needs {missing.name}, which is not installed; try pip install 'captioner[images]'")


class ConfigError(CaptionerError):
    """One or more options are wrong; `problems` holds a line for each."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class DataError(CaptionerError):
    """Images, captions or features that cannot be used."""


class CheckpointError(CaptionerError):
    """A file that is not a whole and matching checkpoint."""


class DivergenceError(CaptionerError):
    """A loss or gradient stopped being a finite number."""
