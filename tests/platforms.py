"""Simulate the file system and the Python modules of Windows on Linux."""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "_posixsubprocess")
SIGNALS = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP", "SIGXFSZ")
NAMES = (
    *("O_DIRECTORY", "O_NONBLOCK", "O_NOFOLLOW", "O_DIRECT", "O_SYNC", "O_NOCTTY", "O_CLOEXEC"),
    *("pread", "preadv", "pwrite", "pwritev", "readv", "writev", "sendfile", "copy_file_range", "posix_fadvise"),
    *("fchmod", "fchown", "chown", "fdatasync", "sync", "statvfs", "mkfifo", "openpty", "fork", "forkpty", "wait4"),
    *("getuid", "geteuid", "getgid", "setuid", "getpgid", "setsid", "getloadavg", "sched_getaffinity"),
)


class Msvcrt:
    """The locks of Windows: an error if another descriptor has the lock."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []
        self._fcntl = import_module("fcntl")

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        assert mode == self.LK_NBLCK
        self.calls.append((os.lseek(descriptor, 0, os.SEEK_CUR), count))
        try:
            self._fcntl.flock(descriptor, self._fcntl.LOCK_EX | self._fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(13, "Permission denied") from None


def is_open(path: Any) -> bool:
    """Return whether this process has opened or mapped a file, or a file in a folder."""
    real = os.path.realpath(path)
    pattern = re.compile(rf"{re.escape(real)}(/.*)?")
    opened = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            opened.append(os.readlink(f"/proc/self/fd/{name}"))
    opened += [line.split(maxsplit=5)[-1] for line in _maps().splitlines()]
    return any(map(pattern.fullmatch, opened))


def _maps() -> str:
    with open("/proc/self/maps") as maps:
        return maps.read()


def _refuse_open_files(call: Callable[..., Any]) -> Callable[..., Any]:
    def refuse(*paths: Any, **options: Any) -> Any:
        for path in paths:
            if is_open(path):
                raise PermissionError(13, "Permission denied: it is open", os.fspath(path))
        return call(*paths, **options)

    return refuse


def simulate_windows() -> None:
    """Hide the POSIX names of this process; refuse to open folders, and to rename, delete or sync as Windows does."""
    open_file, fsync, fcntl = os.open, os.fsync, import_module("fcntl")

    def refuse_folders(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return open_file(path, flags, *rest, **options)

    def refuse_read_only(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        fsync(descriptor)

    os.open, os.fsync = refuse_folders, refuse_read_only
    sys.modules["msvcrt"] = Msvcrt()  # type: ignore[assignment]
    for name in ("rename", "replace", "unlink", "remove"):
        setattr(os, name, _refuse_open_files(getattr(os, name)))
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment] - makes its import fail
    for name in SIGNALS:
        delattr(signal, name)
    for name in NAMES:
        if hasattr(os, name):
            delattr(os, name)
