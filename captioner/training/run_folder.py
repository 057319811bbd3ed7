"""A run folder: effective config, history, checkpoints and summary, and the lock that one training process holds.

`history.jsonl` has one JSON object per logged step, validation or warning; first one for `train.init_from`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from captioner.config.yaml_io import dump, parse
from captioner.errors import CaptionerError, UsageError
from captioner.files import checkpoint
from captioner.files.atomic import remove_temporary_files, temporary_files, write_atomically, writing
from captioner.files.checkpoint import Checkpoint
from captioner.files.header import MODEL
from captioner.files.lock import lock
from captioner.files.user_files import read_bytes, read_first_json_object, read_text, regular_file, to_json
from captioner.inference.find_checkpoint import BEST, LAST, RERANKER
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks

PREVIOUS = "before"
"""Holds an overwritten run until the new one has a best checkpoint."""
HISTORY_LIMIT = 1 << 32
LARGEST_STEP = 1 << 53
"""Steps are smaller, so that floats represent them."""
BEST_BEFORE_END = "best-before-end.h5"
"""The best checkpoint of the scheduled validations, if the validation at the end of the run is better."""
INIT_FROM = "init_from"
KINDS = (INIT_FROM, "step", "validation", "warning")
"""The kinds of records in the history."""
AT_END = "at_end"
"""Marks records that exist only because the run ended; `resume` removes them."""

P = ParamSpec("P")


def rank_0_only(method: Callable[Concatenate[RunFolder, P], None]) -> Callable[Concatenate[RunFolder, P], None]:
    """Let only rank 0 call a method that writes, while the others wait; if it fails, all ranks fail."""

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
        self.history = path / "history.jsonl"
        self.reranker = path / RERANKER
        self.summary = path / "summary.json"
        self.previous = path / PREVIOUS
        self.before_end = path / BEST_BEFORE_END
        self._lock: FolderLock | None = None

    def initialization(self) -> dict[str, Any] | None:
        """Return what `initialize_from` recorded about `train.init_from`, if the history has it."""
        record = _first_record(self.history) or {}
        if record.get("kind") != INIT_FROM:
            return None
        return {name: record.get(name) for name in ("checkpoint", "shared_words", "words", "dropped_words")}

    def files(self) -> tuple[Path, ...]:
        checkpoints = self.last, self.best, self.before_end
        return self.config, self.history, *checkpoints, self.reranker, self.summary

    @rank_0_only
    def create(self, overwrite: bool, config: str = "") -> None:
        """Prepare the folder for a new run with this `config`.

        An overwritten run is kept in a subfolder until `discard_previous`. A run with the same config that was killed
        before its first checkpoint is replaced.

        Raises: UsageError when another process trains in it, when it contains a run and `overwrite` is not set, or when
        it contains only other files; CaptionerError when a file cannot be moved or created.
        """
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise UsageError(
                f"{self.path}: expected a folder for the run, got something else; choose another with --run"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.path)
            self._check_replaceable(overwrite, config)
            self._check_not_moved(self.path)
            # A run without a best checkpoint does not replace a previous one.
            if self.best.exists() or (self.last.exists() and not self._has_previous()):
                self._put_away()
            for file in self._existing(self.path):
                file.unlink()
            remove_temporary_files(*self.files())
        except OSError as error:
            raise CaptionerError(f"{self.path}: cannot create the run folder: {error.strerror}") from error
        except UsageError:
            self._lock = None
            raise

    def _check_replaceable(self, overwrite: bool, config: str) -> None:
        """Raises: UsageError, as `create`."""
        has_run = self.holds_run()
        if has_run and not overwrite and not (self.saved_config() == config and self.has_only_a_start()):
            path = shlex.quote(os.fspath(self.path))
            remedy = f"continue it with --resume {path}" if self.last.exists() else "it has no last.h5 to resume from"
            raise UsageError(
                f"{self.path}: already contains a run; {remedy}, "
                "choose another folder with --run, or replace the run with --overwrite"
            )
        known = {file.name for file in temporary_files(*self.files())}
        if not has_run and any(file.name not in known for file in self.path.iterdir()):
            expected = "a run to replace, or a new or empty folder" if overwrite else "a new or empty folder"
            raise UsageError(f"{self.path}: expected {expected}, got one with other files; choose another")

    def has_only_a_start(self) -> bool:
        """Return whether the folder has only what a run writes before its first checkpoint.

        A summary or validations of several steps are those of a run that had checkpoints.
        """
        lines = filter(None, records(self.history))
        validated = {record["step"] for record in lines if record.get("kind") == "validation"}
        known = {file.name for file in (self.config, self.history, *temporary_files(*self.files()))}
        return len(validated) < 2 and not {file.name for file in self.path.iterdir()} - known

    def holds_run(self) -> bool:
        """Return whether a file in the folder is one of a run, finished or not, or of one that it overwrites.

        The contents decide, since other programs may use the names of the files.
        """
        checkpoints = [folder / name for folder in (self.path, self.previous) for name in (LAST, BEST)]
        has_checkpoint = any(map(MODEL.matches, [*checkpoints, self.before_end]))
        return has_checkpoint or _first_record(self.history) is not None or self.saved_config() is not None

    def saved_config(self) -> str | None:
        """Return the content of config.yaml, or None for another file than `captioner train` writes.

        That has every option and no comments.
        """
        try:
            text = read_text(self.config)
            return text if dump(parse(text, str(self.config))) == text else None
        except CaptionerError:
            return None

    def _put_away(self) -> None:
        """Move the files of an overwritten run into its subfolder: all of them, or none if one cannot be moved.

        Raises: CaptionerError that names this file, and the moved files that cannot be moved back.
        """
        self.previous.mkdir(exist_ok=True)
        if self.config.exists():  # otherwise a killed process has begun to move these files: it moves the config first
            for file in self._existing(self.previous):
                file.unlink()
        moves = [(file, self.previous / file.relative_to(self.path)) for file in self._existing(self.path)]
        _move_all(moves, self.previous)

    def half_moved(self) -> list[tuple[Path, Path]]:
        """Return the moves that undo those of a killed `create`, which moves the config first; none if there are none.

        A file that is in both folders is that of a run which has begun since.
        """
        moves = [(file, self.path / file.relative_to(self.previous)) for file in self._existing(self.previous)]
        has_begun = any(os.path.lexists(target) for _, target in moves)
        return moves if (self.previous / self.config.name).exists() and not has_begun else []

    def move_back(self) -> None:
        """Undo the moves of a killed `create`. Raises: CaptionerError, as `create`."""
        _move_all(self.half_moved(), self.path)
        with contextlib.suppress(OSError):  # it has others
            self.previous.rmdir()

    def _existing(self, folder: Path) -> list[Path]:
        """Return the existing files of the run in its folder or in the subfolder of an overwritten run."""
        return [path for file in self.files() if os.path.lexists(path := folder / file.name)]

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
            for file in self._existing(self.previous):
                file.unlink()
            self.previous.rmdir()

    @rank_0_only
    def keep_best(self) -> None:
        """Copy the best checkpoint before the validation at the end of the run replaces it."""
        if self.best.exists():
            with self.writing(self.before_end) as check:
                check()
                write_atomically(self.before_end, self.best.read_bytes())
                check()

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
        if self.history.exists():
            lines = read_bytes(self.history, HISTORY_LIMIT).decode("utf-8", errors="replace")
            kept = (line for line in lines.splitlines(keepends=True) if is_kept(line, step))
            self.write(self.history, "".join(kept))

    @rank_0_only
    def remove_config(self) -> None:
        """Remove config.yaml before a checkpoint with other options is saved; the new one is written after it."""
        with self.writing(self.config) as check:
            check()
            self.config.unlink(missing_ok=True)

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
            with writing(file):
                yield check
        except CaptionerError:
            with contextlib.suppress(OSError):
                check()  # a moved folder explains any other failure
            raise

    @rank_0_only
    def save(self, file: Path, saved: Checkpoint) -> None:
        """Write a checkpoint atomically."""
        with self.writing(file) as check:
            check()
            checkpoint.save(file, saved)
            check()

    @rank_0_only
    def write(self, file: Path, text: str) -> None:
        """Write a text file atomically."""
        with self.writing(file) as check:
            check()
            write_atomically(file, text.encode())
            check()

    @rank_0_only
    def log(self, record: dict[str, Any]) -> None:
        """Append a record to the history."""
        with self.writing(self.history) as check:
            check()  # before opening, which may create a file in another run
            with open(self.history, "a", encoding="utf-8", newline="\n") as file:
                check()  # again: now the open file is known to be in this folder
                file.write(to_json(record) + "\n")


def is_kept(line: str, step: int) -> bool:
    """Return whether a line is a whole record of a step up to `step`, and not marked `at_end`."""
    record = record_of(line)
    return record is not None and record["step"] <= step and AT_END not in record


def record_of(line: str | bytes) -> dict[str, Any] | None:
    """Return the record in a line of a history: an object with a step; None for a damaged line."""
    try:
        record = json.loads(line)
        return record if 0 <= record["step"] < LARGEST_STEP and not isinstance(record["step"], bool) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def records(path: Path) -> Iterator[dict[str, Any] | None]:
    """Yield the record in each line of a history, None for a damaged line.

    Half a line at the end, as a kill leaves it, is left out. A file that is missing or not a regular one has no lines.
    """
    with (
        contextlib.suppress(CaptionerError),
        regular_file(path, HISTORY_LIMIT) as descriptor,
        open(descriptor, "rb", closefd=False) as file,
    ):
        for line in file:
            record = record_of(line)
            if record is not None or line.endswith(b"\n"):
                yield record


def damaged_lines(name: object, lines: Iterable[dict[str, Any] | None]) -> Iterator[str]:
    """Yield a warning about the damaged lines of a history with these `records`, if there are any."""
    numbers = [number for number, record in enumerate(lines, 1) if record is None]
    if numbers:
        yield f"{name}: damaged lines are left out: {', '.join(map(str, numbers[:5]))}{', ...' * (len(numbers) > 5)}"


def _first_record(path: Path) -> dict[str, Any] | None:
    """Return the first record of a history, or None if the file is missing or does not begin like one."""
    record = read_first_json_object(path)
    return record if record.get("kind") in KINDS and "step" in record else None


def _move_all(moves: Sequence[tuple[Path, Path]], folder: Path) -> None:
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


class FolderLock:
    """A lock on a run folder, held until this object is deleted or its process ends.

    It also detects that the folder was moved or replaced.

    Raises: UsageError when another process holds the lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        try:
            lock(self._descriptor, path)
        except BaseException as error:
            os.close(self._descriptor)
            if isinstance(error, BlockingIOError):
                raise UsageError(
                    f"{path}: another process trains in this folder; wait for it, or choose another folder with --run"
                ) from None
            raise
        self._finalize = weakref.finalize(self, os.close, self._descriptor)

    def release(self) -> None:
        """End the lock."""
        self._finalize()

    def check_not_moved(self, file: Path) -> None:
        """Raises: CaptionerError that names `file` when the path no longer leads to the locked folder."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            descriptor = os.open(self._path, os.O_RDONLY)
            try:
                if os.path.sameopenfile(descriptor, self._descriptor):
                    return
            finally:
                os.close(descriptor)
        raise CaptionerError(f"{file}: cannot write: {_moved_message(self._descriptor)}")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on a run folder in a `with` block. Raises: UsageError when another process holds it."""
    lock = FolderLock(path)
    try:
        yield
    finally:
        lock.release()


def _moved_message(descriptor: int) -> str:
    """Say where the folder is now, and what to try."""
    moved = "the run folder was moved or replaced during the training"
    try:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    except OSError:  # not on Linux
        return f"{moved}; its files are where it was moved to: resume from there, or train again in another folder"
    if not path.exists():
        return f"{moved}, and its files were removed; train again, with --run and another folder"
    remedy = f"try --resume {shlex.quote(os.fspath(path))}" if (path / LAST).exists() else "it has no checkpoint yet"
    return f"{moved}; its files are in {path}: {remedy}"
