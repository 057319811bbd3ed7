"""Atomic file replacement: after a crash, a path holds either the old or the new file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile

from captioner.errors import CaptionerError

MAX_NAME, MAX_STEM = 240, 60
"""The longest name, in bytes, to which a temporary name can add 15 within the limit of file systems; and the characters
of a name that are kept before a number."""
TEMPORARY = re.compile(r"\.(.+)\.([0-9]{1,9})\.tmp", re.DOTALL)
"""The name of a temporary file: the stem of the file that it will replace, and a random number."""
CANNOT_SYNC = {errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Errors of a folder that may not be opened, and of file systems that cannot sync one, such as network file systems."""


def always() -> bool:
    """Return True: a file may be replaced."""
    return True


def write_atomically(path: Path, content: bytes, may_replace: Callable[[], bool] = always, beside: bool = True) -> None:
    """Write a file atomically; `may_replace` and `beside` are those of `replacing`.

    Raises: OSError, as `replacing`.
    """
    with replacing(path, may_replace, beside) as temporary:
        temporary.write_bytes(content)


def write_file(path: Path, content: bytes, may_replace: Callable[[], bool] = always) -> None:
    """Write a file atomically, and remove temporary files that killed processes left behind.

    Raises: CaptionerError, as `replacing`.
    """
    remove_temporary_files(path)
    with writing(path):
        write_atomically(path, content, may_replace)


@contextlib.contextmanager
def writing(
    path: str | os.PathLike[str], kind: str = "", error: Callable[[str], CaptionerError] = CaptionerError
) -> Iterator[None]:
    """Convert a failure of the block to an error that names the file and, if there is one, its kind."""
    try:
        yield
    except OSError as problem:
        what = f"cannot write the {kind}" if kind else "cannot write"
        is_old = kind and os.path.isfile(path) and not isinstance(problem, FileExistsError)
        kept = "; the previous one is kept" if is_old else ""
        raise error(f"{path}: {what}: {problem.strerror or problem}{kept}") from problem


@contextlib.contextmanager
def replacing(path: Path, may_replace: Callable[[], bool] = always, beside: bool = True) -> Iterator[Path]:
    """Return a temporary path in the same folder; after the `with` block, sync the file and rename it to `path`.

    The file has the permissions of an old one. `may_replace` is called last before the rename, and may raise: unless it
    returns True, no file is replaced, not even one that appears at this moment, and with `beside`, the new file gets a
    free name such as NAME-2.csv. The folder is synced too, if the file system can, so that the rename survives a power
    loss. If the block raises, the old file is kept and the temporary file is removed.

    Raises: OSError with the old file unchanged (with the new file in place if only syncing the folder failed);
    FileExistsError if `path` is not a regular file, such as /dev/null, or a file that may not be replaced.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "expected a regular file to replace", os.fspath(path))
    temporary, descriptor = _locked(path)
    try:
        yield temporary
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(path, temporary)
        _sync(temporary)
        if may_replace():
            os.replace(temporary, path)
        else:
            _create(temporary, path, beside)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    finally:
        os.close(descriptor)
    _sync_folder(path.parent)


def _create(temporary: Path, path: Path, beside: bool) -> None:
    """Rename a file to a path where no file is. Raises: FileExistsError, which says what was done instead."""
    with contextlib.suppress(FileExistsError):
        _create_at(temporary, path)
        return
    problem = "a file was created there during the run, and is not replaced"
    for number in count(2) if beside else ():
        with contextlib.suppress(FileExistsError):
            free = path.with_name(f"{path.stem[:MAX_STEM]}-{number}{path.suffix}")
            _create_at(temporary, free)
            problem = f"{problem}; the new one is {free}"
            _sync_folder(path.parent)
            break
    raise FileExistsError(errno.EEXIST, problem, os.fspath(path))


def _create_at(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)  # in contrast to a rename, it never replaces
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:  # a file system without hard links, such as FAT
        open(path, "xb").close()
        os.replace(temporary, path)
    else:
        temporary.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


def try_folder(path: Path) -> None:
    """Create and remove a file in the folder of a path. Raises: CaptionerError."""
    with writing(path), TemporaryFile(dir=path.parent):
        pass


def _locked(path: Path) -> tuple[Path, int]:
    """Create a temporary file, locked until its descriptor is closed or the process ends."""
    while True:
        temporary = path.with_name(f".{temporary_stem(path)}.{secrets.randbelow(10**9)}.tmp")
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            with contextlib.suppress(FileNotFoundError):  # another process may have removed it before the lock
                if _lock(descriptor) is not False and os.path.samestat(os.fstat(descriptor), os.stat(temporary)):
                    return temporary, descriptor
            os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Lock a file, and return whether no other process has locked it; None on a file system without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def temporary_stem(path: Path) -> str:
    """Return the name of a file, or the digest of a long name."""
    name = os.fsencode(path.name)
    return path.name if len(name) <= MAX_NAME else hashlib.sha256(name).hexdigest()


def remove_temporary_files(*paths: Path) -> None:
    """Remove temporary files of these paths that killed processes left behind."""
    for file in temporary_files(*paths):
        with contextlib.suppress(OSError):
            file.unlink()


def temporary_files(*paths: Path) -> Iterator[Path]:
    """Yield the temporary files of these paths that killed processes left behind."""
    for path in paths:
        yield from stale_temporary_files(path.parent).get(temporary_stem(path), ())


def stale_temporary_files(folder: Path) -> dict[str, list[Path]]:
    """List the temporary files that no process locks, by the stem of the file that they would replace."""
    stale: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if (match := TEMPORARY.fullmatch(name)) and _is_stale(folder / name):
                stale.setdefault(match[1], []).append(folder / name)
    return stale


def _is_stale(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_NONBLOCK)  # NFS locks no file that is read only
    except OSError:  # of another user
        return False
    try:
        return _lock(descriptor) is True
    finally:
        os.close(descriptor)
