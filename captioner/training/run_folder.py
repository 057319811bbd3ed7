"""A run folder: the config as it took effect, the history, the checkpoints and a summary."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from captioner.errors import CaptionerError, CheckpointError, UsageError
from captioner.inference.find_checkpoint import BEST, LAST, RERANKER
from captioner.storage import checkpoint
from captioner.storage.atomic import sweep, write_atomically
from captioner.storage.checkpoint import Checkpoint
from captioner.text.strict_json import to_json

BEFORE = "before"
"""Where a run that is overwritten is kept until the new one has a best checkpoint."""


BEST_BEFORE_END = "best-before-end.h5"
"""The best checkpoint of the validations that were due, where that of the end of the run is better and is best.h5."""


AT_END = "at_end"
"""Marks lines of the history that are there only because the run ended: they are cut when it goes on."""


class RunFolder:
    """The files of one training run.

    Once the folder is locked, nothing is written after it was moved or replaced: paths would lead into another run.

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
        self._descriptor: int | None = None  # of the folder that is locked
        self.before_end = path / BEST_BEFORE_END

    def files(self) -> tuple[Path, ...]:
        return self.config, self.history, self.last, self.best, self.before_end, self.reranker, self.summary

    def create(self, overwrite: bool) -> None:
        """Make the folder ready for a new run; the best of the old one stays, in a folder inside, until `found_best`.

        Raises: UsageError when another process trains in it, when it holds a run already and is not to be overwritten,
        or files of other kinds alone.
        """
        has_run = any(file.exists() for file in (*self.files(), self.before / BEST))
        if has_run and not overwrite:
            os.close(_locked(self.path))  # a running training is reported first
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
            self._refuse_moved(self.path)
            if has_best := self.best.exists():
                self.before.mkdir(exist_ok=True)
            for file in self.files():
                if has_best and file.exists():
                    os.replace(file, self.before / file.name)
                file.unlink(missing_ok=True)
            sweep(*self.files())
        except OSError as error:
            raise CaptionerError(f"{self.path}: cannot make the run folder: {error.strerror}") from error

    def previous_run_note(self) -> str:
        """Where the run before is, as long as it is there."""
        return f"; the run before is in {self.before}" if (self.before / BEST).exists() else ""

    def found_best(self) -> None:
        """The new run has a best checkpoint: the one before goes."""
        with contextlib.suppress(OSError):  # what cannot go does no harm
            self._refuse_moved(self.before)
            for file in self.files():
                (self.before / file.name).unlink(missing_ok=True)
            self.before.rmdir()

    def keep_best(self) -> None:
        """Keep a copy of the best checkpoint, which one of the end of the run is about to replace."""
        if self.best.exists():
            with self.writing(self.before_end) as check:
                write_atomically(self.before_end, (self.best.read_bytes(),), check)

    def reopen(self, step: int, had_best: bool = True) -> None:
        """Make the folder ready to go on after a step: what came later, or because the run ended there, is undone.

        Such lines are cut from the history, and best.h5 is again that of the validations that were due, if any.

        Raises: UsageError when another process trains in it.
        """
        self.claim()
        with self.writing(self.best) as check:
            check()
            if self.before_end.exists():
                os.replace(self.before_end, self.best)
            elif not had_best:
                self.best.unlink(missing_ok=True)
        if self.history.exists():
            try:
                lines = self.history.read_text(errors="replace").splitlines(keepends=True)
            except OSError as error:
                raise CaptionerError(f"{self.history}: cannot read: {error.strerror}") from error
            self.write(self.history, "".join(line for line in lines if _belongs(line, step)))

    def claim(self) -> None:
        """Keep others out, and remove what killed writers left behind.

        Raises: UsageError when another process trains in it.
        """
        self._lock()
        self._refuse_moved(self.path)
        sweep(*self.files())

    def _lock(self) -> None:
        """Lock the folder for as long as this object lives; the lock dies with its process."""
        self._descriptor = _locked(self.path)
        weakref.finalize(self, os.close, self._descriptor)

    def _refuse_moved(self, file: Path) -> None:
        """Raises: CaptionerError when the locked folder is not the one at the path any more."""
        if self._descriptor is None:
            return
        try:
            now: os.stat_result | None = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            now = None
        if now is None or not os.path.samestat(now, os.fstat(self._descriptor)):
            raise CaptionerError(f"{file}: cannot write: {_whereabouts(self._descriptor)}")

    @contextlib.contextmanager
    def writing(self, file: Path) -> Iterator[Callable[[], None]]:
        """Yield the check that precedes a write, and turn its failures into one error that names the file."""

        def check() -> None:
            self._refuse_moved(file)

        try:
            yield check
        except (OSError, CheckpointError) as error:
            with contextlib.suppress(OSError):
                check()  # a folder that was moved is the reason of any other failure
            if isinstance(error, CheckpointError):
                raise
            raise CaptionerError(f"{file}: cannot write: {error.strerror}") from error

    def save(self, file: Path, saved: Checkpoint) -> None:
        """Write one of the folder's checkpoints atomically."""
        with self.writing(file) as check:
            checkpoint.save(file, saved, check)

    def write(self, file: Path, text: str) -> None:
        """Write one of the folder's text files atomically."""
        with self.writing(file) as check:
            write_atomically(file, (text.encode(),), check)

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to the history."""
        with self.writing(self.history) as check:
            check()  # first, lest a file is made in another run
            with open(self.history, "a") as file:
                check()  # again, since the open file can only be in the folder that is still at the path
                file.write(to_json(record) + "\n")


def _locked(path: Path) -> int:
    """The descriptor of a folder, locked until it is closed.

    Raises: UsageError when another process trains in it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError(
            f"{path}: another process trains in this folder; wait for it, or name another with --run"
        ) from None
    return descriptor


def _whereabouts(descriptor: int) -> str:
    """What became of a run folder that is not at its path any more, and what to try."""
    moved = "the run folder was moved or replaced during the training"
    try:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    except OSError:  # not on Linux
        return f"{moved}; its files are where it was moved to: resume from there, or train again in another folder"
    if not path.exists():
        return f"{moved}, and its files were removed; train again, with --run and another folder"
    go_on = f"try --resume {shlex.quote(os.fspath(path))}" if (path / LAST).exists() else "no checkpoint is in it yet"
    return f"{moved}; its files are in {path}: {go_on}"


def _belongs(line: str, step: int) -> bool:
    """Whether a history line is one of the steps up to this one; a line cut short by a kill belongs to no step."""
    try:
        record = json.loads(line)
        return float(record["step"]) <= step and AT_END not in record
    except (ValueError, KeyError, TypeError):
        return False
