"""Move several files: all of them, or none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from captioner.errors import CaptionerError


def move_all(moves: Sequence[tuple[Path, Path]], folder: Path) -> None:
    """Move files to paths below `folder`: all of them, or none if one cannot be moved.

    Raises: CaptionerError that names this file, and the moved files that cannot be moved back.
    """
    for done, (file, target) in enumerate(moves):
        try:
            target.parent.mkdir(exist_ok=True)
            os.replace(file, target)
        except OSError as error:
            problem = f"{file}: cannot be moved to {target.parent}: {error.strerror}"
            state = _move_back(moves[:done])
            for place in (target.parent, folder):
                with contextlib.suppress(OSError):  # not empty
                    place.rmdir()
            raise CaptionerError(f"{problem}; {state}") from error


def _move_back(moves: Sequence[tuple[Path, Path]]) -> str:
    """Undo moves, and return where the files are."""
    stuck = []
    for file, target in reversed(moves):
        try:
            os.replace(target, file)
        except OSError:
            stuck.append(str(target))
    return f"of the run, only {', '.join(stuck)} were moved" if stuck else "the run is unchanged"
