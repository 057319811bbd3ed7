"""A run folder: effective config, history, checkpoints, and the lock of its training process.

The history is JSON lines with one record per logged step, validation or warning, and one of the end. A run that is
initialized from another (`train.init_from`) begins with a record of that.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from captioner.captioning.find_checkpoint import BEST, LAST
from captioner.errors import CaptionerError, UsageError
from captioner.files import checkpoint
from captioner.files.atomic import remove_temporary_files, temporary_files, write_atomically, writing
from captioner.files.checkpoint import Checkpoint
from captioner.files.lock import lock
from captioner.files.user_files import read_bytes, regular_file, to_json
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks

P = ParamSpec("P")
HISTORY_LIMIT = 1 << 32
LARGEST_STEP = 1 << 53
"""Steps are smaller, so that floats represent them."""
INIT_FROM, END = "init_from", "end"
KINDS = (INIT_FROM, "step", "validation", "warning", END)
RECORD = b'{"kind": "'
"""The start of a line of a history."""
AT_END = "at_end"
"""Marks records that exist only because the run ended; `resume` removes them."""


def rank_0_only(method: Callable[Concatenate[RunFolder, P], None]) -> Callable[Concatenate[RunFolder, P], None]:
    """Let only rank 0 call a method that writes, while the others wait; if it fails, all ranks fail."""

    def on_rank_0(self: RunFolder, /, *args: P.args, **kwargs: P.kwargs) -> None:
        self.ranks.on_rank_0(lambda: method(self, *args, **kwargs))

    return update_wrapper(on_rank_0, method)


class RunFolder:
    """The files of one training run. All ranks call the methods that write, and rank 0 alone writes.

    Raises: CaptionerError that names the file when one cannot be written.
    """

    def __init__(self, path: Path, ranks: Ranks = SINGLE_PROCESS) -> None:
        self.path, self.ranks = path, ranks
        self.config = path / "config.yaml"
        self.history = path / "history.jsonl"
        self.last = path / LAST
        self.best = path / BEST
        self._lock: FolderLock | None = None

    def files(self) -> tuple[Path, ...]:
        return self.config, self.history, self.last, self.best

    @rank_0_only
    def create(self, overwrite: bool) -> None:
        """Prepare the folder for a new run, and lock it.

        An existing run is an error, or with `overwrite` is renamed to RUN.old, where it replaces an older run. A run
        that was killed before its first checkpoint is replaced.

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
            kinds = kinds_of(self.history)
            # a run that was killed before its first checkpoint has recorded neither an end nor a second validation
            if self.has_checkpoint() or (kinds and (END in kinds or kinds.count("validation") > 1)):
                self._replace(overwrite)
            elif self._others(*(() if kinds is None else (self.config, self.history))):
                expected = "a run to replace, or a new or empty folder" if overwrite else "a new or empty folder"
                raise UsageError(f"{self.path}: expected {expected}, got one with other files; choose another")
            remove_temporary_files(*self.files())
            # before config.yaml: without a history, that may be a file of the user
            write_atomically(self.history, b"")
        except OSError as error:
            raise CaptionerError(f"{self.path}: cannot create the run folder: {error.strerror}") from error
        except UsageError:
            self._lock = None
            raise

    def has_checkpoint(self) -> bool:
        """Return whether the folder contains a checkpoint."""
        return self.last.exists() or self.best.exists()

    def _others(self, *known: Path) -> list[str]:
        """List the names in the folder without the `known` files and temporary ones of killed writers."""
        names = {file.name for file in (*known, *temporary_files(*self.files()))}
        return sorted({file.name for file in self.path.iterdir()} - names)

    def _replace(self, overwrite: bool) -> None:
        """Rename the folder of a run to RUN.old, and lock a new one."""
        if not overwrite:
            resume = f"continue it with --resume {shlex.quote(os.fspath(self.path))}"
            remedy = resume if self.last.exists() else f"it has no {LAST} to resume from"
            raise UsageError(
                f"{self.path}: already contains a run; {remedy}, "
                "choose another folder with --run, or replace the run with --overwrite"
            )
        path = Path(os.path.realpath(self.path))  # of a symbolic link, its target is renamed
        old = RunFolder(path.with_name(f"{path.name}.old"))
        if os.path.lexists(old.path):
            is_folder = old.path.is_dir() and not old.path.is_symlink()
            old._lock = FolderLock(old.path) if is_folder else None
            # a kill of an earlier replacement may have left some files, or an empty folder
            if not is_folder or old._others(*old.files()):
                raise UsageError(f"{old.path}: expected an older run to replace, got other files; move it elsewhere")
            shutil.rmtree(old.path)
        path.rename(old.path)
        path.mkdir()
        self._lock = FolderLock(self.path)

    @rank_0_only
    def claim(self) -> None:
        """Lock the folder of a run to resume, remove temporary files of killed writers, and end the last history line.

        Raises: UsageError when another process trains in it.
        """
        self._lock = FolderLock(self.path)
        remove_temporary_files(*self.files())
        if self.history.exists():  # a kill may have cut its last line, which the next record would continue
            content = read_bytes(self.history, HISTORY_LIMIT)
            whole, end = content[: content.rfind(b"\n") + 1], content[content.rfind(b"\n") + 1 :]
            if end:
                write_atomically(self.history, whole + (end + b"\n" if record_of(end) else b""))

    @rank_0_only
    def save(self, saved: Checkpoint) -> None:
        """Write last.h5 atomically."""
        with writing(self.last):
            checkpoint.save(self.last, saved)

    @rank_0_only
    def keep_best(self) -> None:
        """Copy last.h5 to best.h5."""
        with writing(self.best):
            write_atomically(self.best, self.last.read_bytes())

    @rank_0_only
    def write(self, file: Path, text: str) -> None:
        """Write a text file atomically."""
        with writing(file):
            write_atomically(file, text.encode())

    @rank_0_only
    def remove_config(self) -> None:
        """Remove config.yaml before a checkpoint with other options is saved; the new one is written after it."""
        with writing(self.config):
            self.config.unlink(missing_ok=True)

    @rank_0_only
    def log(self, kind: str, record: dict[str, Any]) -> None:
        """Append a record to the history."""
        with writing(self.history), open(self.history, "a", encoding="utf-8", newline="\n") as file:
            file.write(to_json({"kind": kind, **record}) + "\n")

    @rank_0_only
    def forget_after(self, step: int) -> None:
        """Remove later records than a step from the history, and those of the end of the run."""
        if self.history.exists():
            lines = read_bytes(self.history, HISTORY_LIMIT).decode("utf-8", errors="replace")
            self.write(self.history, "".join(line for line in lines.splitlines(keepends=True) if is_kept(line, step)))


def check_inputs(run: Path, *inputs: Path | None) -> None:
    """Raises: UsageError for an input in RUN or RUN.old, which `overwrite` would move or remove."""
    new = os.path.realpath(run)
    for path in filter(None, inputs):
        if any(Path(os.path.realpath(path)).is_relative_to(folder) for folder in (new, f"{new}.old")):
            raise UsageError(f"{path}: is in {run} or {run}.old, which --overwrite replaces; move it, or change --run")


class FolderLock:
    """A lock on a run folder, held until this object is deleted or its process ends.

    On a file system without locks, it warns.

    Raises: UsageError when another process holds the lock.
    """

    def __init__(self, path: Path) -> None:
        busy = "another process trains in this folder; wait for it, or start a run in another folder"
        weakref.finalize(self, os.close, lock(path, os.O_RDONLY, path, busy))


def record_of(line: str | bytes) -> dict[str, Any] | None:
    """Return the record in a line of a history: an object with a kind and a step; None for a damaged line."""
    try:
        record = json.loads(line)
        is_step = 0 <= record["step"] < LARGEST_STEP and not isinstance(record["step"], bool)
        return record if is_step and record["kind"] in KINDS else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a history; damaged lines are left out, such as half a line at the end after a kill.

    A file that is missing or not a regular one has no records.
    """
    with (
        suppress(CaptionerError),
        regular_file(path, HISTORY_LIMIT) as descriptor,
        open(descriptor, "rb", closefd=False) as file,
    ):
        yield from filter(None, map(record_of, file))


def kinds_of(history: Path) -> list[str] | None:
    """Return the kinds of the records of a history; a kill may have cut its last line.

    Returns None for a file that is missing, or not a history.
    """
    try:
        *lines, cut = read_bytes(history, HISTORY_LIMIT).split(b"\n")
    except CaptionerError:
        return None
    kinds = [record["kind"] for record in map(record_of, lines) if record]
    is_history = len(kinds) == len(lines) and RECORD.startswith(cut[: len(RECORD)])
    return kinds if is_history else None


def is_kept(line: str, step: int) -> bool:
    """Return whether a run that is resumed after `step` keeps a line: whole records up to it, but none of the end."""
    record = record_of(line)
    return record is not None and record["step"] <= step and record["kind"] != END and AT_END not in record


def initialization(path: Path) -> dict[str, Any] | None:
    """Return what the history recorded about `train.init_from`, if anything."""
    first = next(records(path), None) or {}
    if first.get("kind") != INIT_FROM:
        return None
    return {name: first.get(name) for name in ("checkpoint", "shared_words", "words", "dropped_words")}


def end_of(records: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return how a run ended, read from the last record, or an empty dict if it has not ended."""
    last = next(iter(deque(records, maxlen=1)), {})
    return last if last.get("kind") == END else {}
