"""A run folder: effective config, history, checkpoints and summary."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from functools import update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from captioner.errors import CaptionerError, CheckpointError, UsageError
from captioner.inference.find_checkpoint import BEST, HISTORY, LAST, RERANKER
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.storage import checkpoint
from captioner.storage.atomic import remove_temporary_files, write_atomically
from captioner.storage.checkpoint import Checkpoint
from captioner.storage.files import read_bytes
from captioner.text.strict_json import to_json
from captioner.training import history
from captioner.training.detect_run import holds_run
from captioner.training.folder_lock import LOCK, FolderLock
from captioner.training.move_files import move_all

PREVIOUS = "before"
"""Holds an overwritten run until the new one has a best checkpoint."""
EVENT_FILES, EVENT_FILE = "tensorboard", "events.out.tfevents.*"
"""The folder of the TensorBoard event files, and the pattern of their names."""
HISTORY_LIMIT = 1 << 32
CAPTIONS = "captions.h5"
"""The captions of the teachers that a run is distilled from."""
BEST_BEFORE_END = "best-before-end.h5"
"""The best checkpoint of the scheduled validations, if the validation at the end of the run is better."""


P = ParamSpec("P")


def rank_0_only(method: Callable[Concatenate[RunFolder, P], None]) -> Callable[Concatenate[RunFolder, P], None]:
    """Let only rank 0 call a method that writes, while the others wait; a failure there is one of all ranks."""

    def on_rank_0(self: RunFolder, /, *args: P.args, **kwargs: P.kwargs) -> None:
        self.ranks.on_rank_0(lambda: method(self, *args, **kwargs))

    return update_wrapper(on_rank_0, method)


class RunFolder:
    """The files of one training run. All ranks call the methods that write, and rank 0 alone writes.

    Writing to a locked folder fails after the folder was moved or replaced: its path may lead to another run.

    Raises: CaptionerError that names the file when one cannot be written.
    """

    def __init__(self, path: Path, ranks: Ranks = SINGLE_PROCESS) -> None:
        self.path, self.ranks = path, ranks
        self.best = path / BEST
        self.last = path / LAST
        self.config = path / "config.yaml"
        self.history = path / HISTORY
        self.reranker = path / RERANKER
        self.captions = path / CAPTIONS
        self.summary = path / "summary.json"
        self.report = path / "report.html"
        self.speed = path / "speed.jsonl"
        self.event_files = path / EVENT_FILES
        self.previous = path / PREVIOUS
        self.before_end = path / BEST_BEFORE_END
        self.reused: tuple[Path, ...] = ()
        """Files that a new run in this folder uses, so `create` leaves them there."""
        self._lock: FolderLock | None = None

    def initialization(self) -> dict[str, Any] | None:
        """Return what the history has about `train.init_from`."""
        return history.initialization(self.history)

    def files(self) -> tuple[Path, ...]:
        checkpoints = self.last, self.best, self.before_end
        others = self.reranker, self.captions, self.summary, self.report, self.speed
        return self.config, self.history, *checkpoints, *others

    @rank_0_only
    def create(self, overwrite: bool) -> None:
        """Prepare the folder for a new run; an overwritten run is kept in a subfolder until `discard_previous`.

        Raises: UsageError when another process trains in it, when it contains a run and `overwrite` is not set, or when
        it contains only other files; CaptionerError when a file cannot be moved or created.
        """
        has_run = self._holds_run()
        if has_run and not overwrite:
            FolderLock(self.path).release()  # report a running training first
            path = shlex.quote(os.fspath(self.path))
            remedy = f"continue it with --resume {path}" if self.last.exists() else "it has no last.h5 to resume from"
            raise UsageError(
                f"{self.path}: already contains a run; {remedy}, "
                "choose another folder with --run, or replace the run with --overwrite"
            )
        known = {LOCK, *(file.name for file in self.reused)}
        if not has_run and self.path.is_dir() and any(file.name not in known for file in self.path.iterdir()):
            expected = "a run to replace, or a new or empty folder" if overwrite else "a new or empty folder"
            raise UsageError(f"{self.path}: expected {expected}, got one with other files; choose another")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.path)
            self._check_not_moved(self.path)
            # A run without a best checkpoint does not replace a previous one.
            if self.best.exists() or (self.last.exists() and not self._has_previous()):
                self._put_away()
            for file in (*self.files(), *self._event_files(self.path)):
                if file not in self.reused:
                    file.unlink(missing_ok=True)
            remove_temporary_files(*self.files())
        except OSError as error:
            raise CaptionerError(f"{self.path}: cannot create the run folder: {error.strerror}") from error

    def _holds_run(self) -> bool:
        checkpoints = [folder / name for folder in (self.path, self.previous) for name in (LAST, BEST)]
        return holds_run([*checkpoints, self.before_end], self.history, self.config)

    def _put_away(self) -> None:
        """Move the files of an overwritten run into its subfolder: all of them, or none if one cannot be moved.

        Raises: CaptionerError that names this file, and the moved files that cannot be moved back.
        """
        self.previous.mkdir(exist_ok=True)
        for file in self.files():
            (self.previous / file.name).unlink(missing_ok=True)
        for stale in self._event_files(self.previous):
            stale.unlink()
        files = [*filter(Path.exists, self.files()), *self._event_files(self.path)]
        moves = [(file, self.previous / file.relative_to(self.path)) for file in files]
        move_all(moves, self.previous)
        for file in self.reused:
            if (self.previous / file.name).exists():
                shutil.copyfile(self.previous / file.name, file)

    @staticmethod
    def _event_files(run: Path) -> list[Path]:
        return sorted((run / EVENT_FILES).glob(EVENT_FILE))

    def previous_run_note(self) -> str:
        """Return a note with the path of the overwritten run, if it still exists."""
        return f"; the previous run is in {self.previous}" if self._has_previous() else ""

    def _has_previous(self) -> bool:
        return any((self.previous / name).exists() for name in (BEST, LAST))

    @rank_0_only
    def discard_previous(self) -> None:
        """Delete the overwritten run, once the new one has a best checkpoint."""
        with contextlib.suppress(OSError):  # a file that cannot be deleted does no harm
            self._check_not_moved(self.previous)
            for file in self.files():
                (self.previous / file.name).unlink(missing_ok=True)
            for file in self._event_files(self.previous):
                file.unlink()
            with contextlib.suppress(FileNotFoundError):
                (self.previous / EVENT_FILES).rmdir()
            self.previous.rmdir()

    @rank_0_only
    def keep_best(self) -> None:
        """Copy the best checkpoint before the validation at the end of the run replaces it."""
        if self.best.exists():
            with self.writing(self.before_end) as check:
                write_atomically(self.before_end, (self.best.read_bytes(),), check)

    @rank_0_only
    def reopen(self, step: int, has_best: bool = True) -> None:
        """Prepare the folder to resume after a step: undo later records and everything from the end of the run.

        Their lines are removed from the history, and best.h5 is again that of the scheduled validations, if any.

        The caller has claimed the folder.
        """
        with self.writing(self.best) as check:
            check()
            if self.before_end.exists():
                os.replace(self.before_end, self.best)
            elif not has_best:
                self.best.unlink(missing_ok=True)
        for file in filter(Path.exists, (self.history, self.speed)):
            lines = read_bytes(file, HISTORY_LIMIT).decode("utf-8", errors="replace")
            self.write(file, history.truncate(lines, step))

    @rank_0_only
    def claim(self) -> None:
        """Lock the folder, and remove temporary files of killed writers.

        Raises: UsageError when another process trains in it.
        """
        self._lock = FolderLock(self.path)
        self._check_not_moved(self.path)
        remove_temporary_files(*self.files())

    def _check_not_moved(self, file: Path) -> None:
        if self._lock is not None:
            self._lock.check_not_moved(file)

    @contextlib.contextmanager
    def writing(self, file: Path) -> Iterator[Callable[[], None]]:
        """Yield the check to call before writing, and convert failures to an error that names the file."""

        def check() -> None:
            self._check_not_moved(file)

        try:
            yield check
        except (OSError, CheckpointError) as error:
            with contextlib.suppress(OSError):
                check()  # a moved folder explains any other failure
            if isinstance(error, CheckpointError):
                raise
            raise CaptionerError(f"{file}: cannot write: {error.strerror}") from error

    @rank_0_only
    def save(self, file: Path, saved: Checkpoint) -> None:
        """Write a checkpoint atomically."""
        with self.writing(file) as check:
            checkpoint.save(file, saved, check)

    @rank_0_only
    def write(self, file: Path, text: str) -> None:
        """Write a text file atomically."""
        with self.writing(file) as check:
            write_atomically(file, (text.encode(),), check)

    @rank_0_only
    def log(self, record: dict[str, Any]) -> None:
        """Append a record to the history."""
        self.append(self.history, record)

    def append(self, path: Path, record: dict[str, Any]) -> None:
        """Append a record to a file of JSON lines."""
        with self.writing(path) as check:
            check()  # before opening, which may create a file in another run
            with open(path, "a", encoding="utf-8", newline="\n") as file:
                check()  # again: now the open file is known to be in this folder
                file.write(to_json(record) + "\n")
