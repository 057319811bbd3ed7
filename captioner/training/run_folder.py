"""A run folder: effective config, history, checkpoints, and the lock of its training process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from functools import update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from captioner.captioning.find_checkpoint import BEST, LAST
from captioner.config.yaml_io import dump, parse
from captioner.errors import CaptionerError, UsageError
from captioner.files import checkpoint
from captioner.files.atomic import remove_temporary_files, temporary_files, write_atomically, writing
from captioner.files.checkpoint import Checkpoint
from captioner.files.header import MODEL
from captioner.files.history import END, HISTORY_LIMIT, is_kept, records
from captioner.files.user_files import read_bytes, read_text, to_json
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks

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
            if not self.holds_run():
                self._check_empty(overwrite)
            elif self.has_only_a_start():
                self.history.unlink(missing_ok=True)
                self.config.unlink(missing_ok=True)
            elif overwrite:
                self._rename()
            else:
                path = shlex.quote(os.fspath(self.path))
                remedy = (
                    f"continue it with --resume {path}" if self.last.exists() else f"it has no {LAST} to resume from"
                )
                raise UsageError(
                    f"{self.path}: already contains a run; {remedy}, "
                    "choose another folder with --run, or replace the run with --overwrite"
                )
            remove_temporary_files(*self.files())
        except OSError as error:
            raise CaptionerError(f"{self.path}: cannot create the run folder: {error.strerror}") from error
        except UsageError:
            self._lock = None
            raise

    def holds_run(self) -> bool:
        """Return whether a file in the folder is one of a run, finished or not.

        The contents decide, since other programs may use the names of the files.
        """
        has_checkpoint = any(map(MODEL.matches, (self.last, self.best)))
        return has_checkpoint or next(records(self.history), None) is not None or self.has_config()

    def has_config(self) -> bool:
        """Return whether config.yaml is one that `captioner train` writes: with every option and no comments."""
        try:
            text = read_text(self.config)
            return dump(parse(text, str(self.config))) == text
        except CaptionerError:
            return False

    def has_only_a_start(self) -> bool:
        """Return whether the folder has only what a run writes before its first checkpoint.

        A history with several validations, or with an end, is that of a run that had checkpoints or diverged.
        """
        kinds = Counter(record["kind"] for record in records(self.history) if record is not None)
        return kinds["validation"] < 2 and not kinds[END] and not self._others(self.config, self.history)

    def _others(self, *known: Path) -> list[str]:
        """List the names in the folder without the `known` files and temporary ones of killed writers."""
        names = {file.name for file in (*known, *temporary_files(*self.files()))}
        return sorted({file.name for file in self.path.iterdir()} - names)

    def _check_empty(self, overwrite: bool) -> None:
        if self._others():
            expected = "a run to replace, or a new or empty folder" if overwrite else "a new or empty folder"
            raise UsageError(f"{self.path}: expected {expected}, got one with other files; choose another")

    def _rename(self) -> None:
        """Rename the folder to RUN.old, and lock a new one."""
        path = Path(os.path.realpath(self.path))  # of a symbolic link, its target is renamed
        old = RunFolder(path.with_name(f"{path.name}.old"))
        if old.path.is_symlink() or (old.path.exists() and not old.path.is_dir()):
            raise UsageError(
                f"{old.path}: expected the folder of an older run to replace, got a link or a file; move it elsewhere"
            )
        if old.path.exists():
            with contextlib.closing(FolderLock(old.path)):
                old.remove()
        path.rename(old.path)
        path.mkdir()
        self._lock = FolderLock(self.path)

    def remove(self) -> None:
        """Remove the folder of a run. Raises: UsageError when it contains something else."""
        others = self._others(*self.files())
        if others or (self._others() and not self.holds_run()):
            found = f"one with {others[0]}" if others else "files of another program"
            raise UsageError(f"{self.path}: expected an older run to replace, got {found}; move it elsewhere")
        for file in (*temporary_files(*self.files()), *reversed(self.files())):
            file.unlink(missing_ok=True)
        self.path.rmdir()

    @rank_0_only
    def claim(self) -> None:
        """Lock the folder of a run to resume, and remove temporary files of killed writers.

        Raises: UsageError when another process trains in it.
        """
        self._lock = FolderLock(self.path)
        remove_temporary_files(*self.files())

    @contextlib.contextmanager
    def writing(self, file: Path) -> Iterator[None]:
        """Check before a write that the folder was not moved; any error states the file."""
        with writing(file):
            if self._lock is not None:
                self._lock.check_not_moved(file)
            yield

    @rank_0_only
    def save(self, saved: Checkpoint) -> None:
        """Write last.h5 atomically."""
        with self.writing(self.last):
            checkpoint.save(self.last, saved)

    @rank_0_only
    def keep_best(self) -> None:
        """Copy last.h5 to best.h5, unless they are equal."""
        with self.writing(self.best):
            content = self.last.read_bytes()
            if not self.best.exists() or self.best.read_bytes() != content:
                write_atomically(self.best, content)

    @rank_0_only
    def write(self, file: Path, text: str) -> None:
        """Write a text file atomically."""
        with self.writing(file):
            write_atomically(file, text.encode())

    @rank_0_only
    def remove_config(self) -> None:
        """Remove config.yaml before a checkpoint with other options is saved; the new one is written after it."""
        with self.writing(self.config):
            self.config.unlink(missing_ok=True)

    @rank_0_only
    def log(self, kind: str, record: dict[str, Any]) -> None:
        """Append a record to the history."""
        with self.writing(self.history), open(self.history, "a", encoding="utf-8", newline="\n") as file:
            file.write(to_json({"kind": kind, **record}) + "\n")

    @rank_0_only
    def forget_after(self, step: int) -> None:
        """Remove later records than a step from the history, and those of the end of the run."""
        if self.history.exists():
            lines = read_bytes(self.history, HISTORY_LIMIT).decode("utf-8", errors="replace")
            self.write(self.history, "".join(line for line in lines.splitlines(keepends=True) if is_kept(line, step)))


def check_inputs(run: Path, *inputs: Path | None) -> None:
    """Raises: UsageError for an input in RUN or RUN.old, which `overwrite` would move or remove, or a link there."""
    new = os.path.realpath(run)
    for path in filter(None, inputs):
        places = map(Path, map(os.path.realpath, (path, path.parent)))
        if any(place.is_relative_to(folder) for place in places for folder in (new, f"{new}.old")):
            raise UsageError(f"{path}: is in {run} or {run}.old, which --overwrite replaces; move it, or change --run")


WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Errors of file systems without locks."""


class FolderLock:
    """A lock on a run folder, held until this object is deleted or its process ends.

    It also detects that the folder was moved or replaced. On a file system without locks, it warns.

    Raises: UsageError when another process holds the lock.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._descriptor = path, os.open(path, os.O_RDONLY)
        self._finalize = weakref.finalize(self, os.close, self._descriptor)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise UsageError(
                f"{path}: another process trains in this folder; wait for it, or choose another folder with --run"
            ) from None
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            problem = f"{path}: cannot be locked ({error.strerror}); make sure that no other process writes there"
            warnings.warn(problem, stacklevel=3)

    def close(self) -> None:
        """End the lock."""
        self._finalize()

    def check_not_moved(self, file: Path) -> None:
        """Raises: CaptionerError that names `file` when the path no longer leads to the locked folder."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if os.path.samestat(os.stat(self._path), os.fstat(self._descriptor)):
                return
        raise CaptionerError(
            f"{file}: cannot write: the run folder was moved or replaced during the training; "
            "resume from where it is now, or train again with --run and another folder"
        )
