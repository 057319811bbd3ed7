"""A run folder: the config as it took effect, the history, the checkpoints and a summary."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import shlex
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captioner.atomic import sweep, write_atomically
from captioner.checkpoint import SEAL
from captioner.errors import CaptionerError, CheckpointError, UsageError

BEST, LAST = "best.h5", "last.h5"
RERANKER = "reranker.h5"
BEFORE = "before"
"""Where a run that is overwritten is kept until the new one has a best checkpoint."""


class RunFolder:
    """The files of one training run.

    Raises: CaptionerError that names the file when one cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / BEST
        self.last = path / LAST
        self.config = path / "config.yaml"
        self.history = path / "history.jsonl"
        self.reranker = path / RERANKER
        self.summary = path / "summary.json"
        self.before = path / BEFORE

    def files(self) -> tuple[Path, ...]:
        return self.config, self.history, self.last, self.best, self.reranker, self.summary

    def create(self, overwrite: bool) -> None:
        """Make the folder ready for a new run; the best of the old one stays, in a folder inside, until `found_best`.

        Raises: UsageError when another process trains in it, when it holds a run already and is not to be overwritten,
        or files of other kinds alone.
        """
        has_run = any(file.exists() for file in (*self.files(), self.before / BEST))
        if has_run and not overwrite:
            self._lock()()  # who trains here is told first
            path = shlex.quote(os.fspath(self.path))
            go_on = f"go on with it by --resume {path}" if self.last.exists() else "it has no last.h5 to go on from"
            raise UsageError(
                f"{self.path}: holds a run already; {go_on}, "
                "name another folder with --run, or start anew with --overwrite"
            )
        if not has_run and self.path.is_dir() and any(self.path.iterdir()):
            raise UsageError(f"{self.path}: expected a new or empty folder, got one with other files; name another")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock()
            if has_best := self.best.exists():
                self.before.mkdir(exist_ok=True)
            for file in self.files():
                if has_best and file.exists():
                    os.replace(file, self.before / file.name)
                file.unlink(missing_ok=True)
            sweep(*self.files())
        except OSError as error:
            raise CaptionerError(f"{self.path}: cannot make the run folder: {error.strerror}") from error

    def told_before(self) -> str:
        """Where the run before is, as long as it is there."""
        return f"; the run before is in {self.before}" if (self.before / BEST).exists() else ""

    def found_best(self) -> None:
        """The new run has a best checkpoint: the one before goes."""
        with contextlib.suppress(OSError):  # what cannot go does no harm
            for file in self.files():
                (self.before / file.name).unlink(missing_ok=True)
            self.before.rmdir()

    def reopen(self, step: int) -> None:
        """Make the folder ready to go on after a step: what came later is cut from the history.

        Raises: UsageError when another process trains in it.
        """
        self.claim()
        if self.history.exists():
            lines = self.history.read_text(errors="replace").splitlines(keepends=True)
            self.write(self.history, "".join(line for line in lines if _step_of(line) <= step))

    def claim(self) -> None:
        """Keep others out, and remove what killed writers left behind.

        Raises: UsageError when another process trains in it.
        """
        self._lock()
        sweep(*self.files())

    def _lock(self) -> Callable[[], object]:
        """Claim the folder for as long as this object lives, or until what is returned is called; the claim dies with
        its process.
        """
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UsageError(
                f"{self.path}: another process trains in this folder; wait for it, or name another with --run"
            ) from None
        return weakref.finalize(self, os.close, descriptor)

    def write(self, file: Path, text: str) -> None:
        """Write one of the folder's text files atomically."""
        try:
            write_atomically(file, (text.encode(),))
        except OSError as error:
            raise CaptionerError(f"{file}: cannot write: {error.strerror}") from error

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to the history."""
        try:
            with open(self.history, "a") as file:
                file.write(to_json(record) + "\n")
        except OSError as error:
            raise CaptionerError(f"{self.history}: cannot write: {error.strerror}") from error


def to_json(record: dict[str, Any], indent: int | None = None) -> str:
    """A record as JSON, which has no infinity and no NaN: they become null."""
    return json.dumps(_finite(record), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _step_of(line: str) -> float:
    """The step of a history line; a line cut short by a kill belongs to no step."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def is_run(path: Path) -> bool:
    """Whether a name is that of a run folder with a checkpoint, or of a checkpoint file."""
    if os.path.isdir(path):  # unlike Path.is_dir, it takes any name
        return any(os.path.exists(path / name) for name in (BEST, LAST))
    # a pipe is not read: what is taken from it is gone
    return os.path.isfile(path) and (path.suffix == Path(BEST).suffix or SEAL.is_on(path))


def find_checkpoint(path: Path) -> Path:
    """The checkpoint that a user means by a run folder (the best, else the last) or by a file.

    Raises: CheckpointError when there is none.
    """
    if not path.is_dir():
        return path
    for file in (path / BEST, path / LAST):
        if file.exists():
            return file
    raise CheckpointError(
        f"{path}: no checkpoint here; expected {BEST} or {LAST} in a folder that `captioner train` made"
    )
