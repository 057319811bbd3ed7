"""Execute the file of a student in a process of its own, and call its functions for the grader.

The grader (`grading`) starts this file as a script. The process contains no right answers: the grader keeps the inputs,
the reference and the verdict, and whatever this process sends only passes if it is numerically right. So nothing here
protects the verdict. The audit hook refuses the short ways: captioner's own functions, other processes, the network.

Only NumPy and the standard library are imported. Limits and signals need Linux, as all of captioner.
"""

from __future__ import annotations

import ctypes
import io
import itertools
import json
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from traceback import format_exception_only, walk_tb
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

FRAME = struct.Struct(">QQ")
MAX_HEADER, LIMIT = 1 << 20, 1 << 26
"""The maximum bytes of the JSON, and of the arrays, of a message."""
MAX_KEPT = 256
DEPTH = 4
"""Levels of nested tuples and dicts that a message may have: deeper values travel as the names of their types."""
NUMBERS = "biufc"
"""The kinds of dtypes of arrays that travel."""
MEMORY, FILE_SIZE = 4 << 30, 1 << 26
"""The maximum bytes of memory, and of a file that is written, also of what is printed."""
MODULES = ("cs231n", *(f"cs231n.{name}layers" for name in ("", "rnn_", "attention_", "transformer_")))
"""The modules of captioner that exercises import; each has all functions that can be checked."""
REFUSED = (
    "ctypes.", "fcntl.", "os.exec", "os.fork", "os.kill", "os.posix_spawn", "os.spawn", "os.system", "pty.",
    "resource.", "socket.", "subprocess.", "sys.remote_exec",
)  # fmt: skip
"""Audit events of native code, other processes and the network."""


class Kept(NamedTuple):
    """A value that stays in its process, such as a cache, and the arguments and results of the call that made it."""

    value: Any
    watched: tuple[Any, ...] = ()


class Handle:
    """What a process has of a value that the other one keeps."""

    def __init__(self, key: int, freed: list[int]) -> None:
        self.key, self._freed = key, freed

    def __del__(self) -> None:
        self._freed.append(self.key)

    def __deepcopy__(self, memo: object) -> Handle:
        return self


class Channel:
    """Messages between two processes: JSON, followed by arrays in the npy format; nothing is unpickled."""

    def __init__(self, read: Callable[[int], bytes], write: Callable[[bytes], object]) -> None:
        self._read, self._write = read, write
        self._kept: dict[int, Kept] = {}
        self._keys = itertools.count()
        self._freed: list[int] = []

    def send(self, *values: Any) -> None:
        """Send a message. Raises: ValueError if it is too long."""
        content = io.BytesIO()
        packed = [self._pack(value, content, DEPTH) for value in values]
        freed, self._freed[:] = self._freed[:], []
        header, arrays = json.dumps([packed, freed]).encode(), content.getvalue()
        if len(header) > MAX_HEADER or len(arrays) > LIMIT:
            raise ValueError(f"expected values of at most {LIMIT:,} bytes")
        self._write(FRAME.pack(len(header), len(arrays)) + header + arrays)

    def receive(self) -> tuple[Any, ...]:
        """Wait for a message. Raises: Exception of any type for bytes that are none."""
        header, arrays = FRAME.unpack(self._read(FRAME.size))
        if header > MAX_HEADER or arrays > LIMIT:
            raise ValueError("expected a message")
        packed, freed = json.loads(self._read(header))
        content = io.BytesIO(self._read(arrays))
        values = tuple(self._unpack(value, content) for value in packed)
        for key in freed:
            self._kept.pop(key, None)
        return values

    def _pack(self, value: Any, content: io.BytesIO, depth: int) -> Any:
        """Return a value as JSON, and write its arrays to `content`."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, Kept):
            if len(self._kept) >= MAX_KEPT:
                raise ValueError(f"expected at most {MAX_KEPT:,} caches at a time")
            self._kept[key := next(self._keys)] = value
            return {"keeps": key}
        if isinstance(value, Handle):
            return {"kept": value.key}
        if (type(value) is np.ndarray or isinstance(value, np.generic)) and value.dtype.kind in NUMBERS:
            if value.nbytes > LIMIT:
                raise ValueError(f"expected arrays of at most {LIMIT:,} bytes, got {value.nbytes:,}")
            np.save(content, value, allow_pickle=False)
            return {"array": 0}
        if isinstance(value, dict) and depth:
            parts = {key: part for key, part in value.items() if type(key) is str}
            return {"dict": {key: self._pack(part, content, depth - 1) for key, part in parts.items()}}
        if isinstance(value, tuple | list) and depth:
            return {"tuple": [self._pack(part, content, depth - 1) for part in value]}
        return {"type": type(value).__name__}

    def _unpack(self, value: Any, content: io.BytesIO) -> Any:
        """Return the value that `_pack` of the other process packed."""
        if not isinstance(value, dict):
            return value
        ((kind, value),) = value.items()
        match kind:
            case "array":
                array = np.lib.format.read_array(content, allow_pickle=False)
                if array.dtype.kind not in NUMBERS:
                    raise ValueError("expected an array of numbers")
                return array
            case "dict":
                return {key: self._unpack(part, content) for key, part in value.items()}
            case "tuple":
                return tuple(self._unpack(part, content) for part in value)
            case "keeps":
                return Handle(value, self._freed)
            case "kept":
                return self._kept[value]
        return type(str(value), (), {})()


def describe(error: BaseException) -> str:
    """Describe what the code of a file raised, and in which of its lines."""
    if isinstance(error, NotImplementedError):
        return "not implemented"
    _, *frames = walk_tb(error.__traceback__)  # the first is that of the caller
    lines = [f" (line {line})" for frame, line in frames if frame.f_code.co_filename == frames[0][0].f_code.co_filename]
    message = format_exception_only(error)[-1].strip()  # of a syntax error, the lines before it show the code
    return f"raised {message[:300]}{lines[-1] if lines else ''}"


def snapshot(value: Any) -> Any:
    """Return what differs after a change of an array, or of a dict of arrays."""
    if isinstance(value, dict):
        return {key: snapshot(part) for key, part in value.items()}
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else None


def watched_call(function: Callable[..., Any], arguments: tuple[Any, ...], keeps_last: bool) -> tuple[str, Any]:
    """Call a function, and return a message: "returned" and its value, "modified" and an index, or "raised" and a text.

    The index is that of an argument, or of an argument or result of the call that made the cache. With `keeps_last`,
    the last value of a tuple stays in this process.
    """
    watched = [a for a in arguments if not isinstance(a, Kept)]
    watched += [part for a in arguments if isinstance(a, Kept) for part in a.watched]
    before = [snapshot(part) for part in watched]
    try:
        returned = function(*(a.value if isinstance(a, Kept) else a for a in arguments))
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        return "raised", describe(error)
    for index, part in enumerate(watched):
        if snapshot(part) != before[index]:
            return "modified", index
    if keeps_last and isinstance(returned, tuple | list) and returned:
        *outs, last = returned
        returned = *outs, Kept(last, (*watched, *outs))
    return "returned", returned


class StubModule(ModuleType):
    """A module of captioner in a submission; what it lacks is refused in one line."""

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__":
            raise AttributeError(name)
        raise ImportError(f"a submission cannot use {self.__name__}.{name}")


def _import_stubs(channel: Channel, names: Iterable[str]) -> list[Callable[..., Any]]:
    """Provide and return functions that the grader computes, in modules of captioner, and a `check` without effect."""

    def stub(name: str) -> Callable[..., Any]:
        def function(*args: Any, **options: Any) -> Any:
            channel.send("ask", name, args, options)
            kind, value = channel.receive()
            if kind != "returned":
                raise RuntimeError(f"captioner's {name} {value}")
            return value

        return function

    stubs = {name: stub(name) for name in names}
    contents = {name: {**stubs, "__all__": [*stubs]} for name in MODULES} | {"gradcheck": {"check": lambda *_: None}}
    captioner = sys.modules["captioner"] = StubModule("captioner")
    for name, values in contents.items():
        module = sys.modules[f"captioner.{name}"] = StubModule(f"captioner.{name}")
        vars(module).update(values)
        setattr(captioner, name.rpartition(".")[2], module)
    return [*stubs.values()]


def _refuse_ways_out() -> None:
    """Limit memory and files, and refuse captioner's modules and files, other processes, native code and the network.

    The hook reads nothing that code of the process can replace, and finds files by device and inode.
    """
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a stopped grader leaves no endless loop behind
    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, FILE_SIZE), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (most, most) if hard == resource.RLIM_INFINITY else (min(most, hard),) * 2)
    # both raise no audit event; modules such as Matplotlib import subprocess
    for module in (subprocess, signal, sys.modules["_signal"]):
        vars(module).pop("_fork_exec", None)
        vars(module).pop("pidfd_send_signal", None)
    sys.modules.pop("_posixsubprocess", None)
    package = Path(__file__).parents[1]
    files = [os.stat(path) for path in (package, *package.rglob("*"))]

    def refuse(
        event: str,
        args: tuple[Any, ...],
        # defaults, because code of the process can replace every name of a module, and every built-in
        stat: Callable[[Any], os.stat_result] = os.stat,
        refused: tuple[str, ...] = REFUSED,
        of_captioner: frozenset[tuple[int, int]] = frozenset((file.st_dev, file.st_ino) for file in files),
        of_processes: int = os.stat("/proc").st_dev,
        null: int = os.stat(os.devnull).st_rdev,
    ) -> None:
        if event == "import":
            if args[0] == "captioner" or args[0].startswith(("captioner.", "_posixsubprocess")):
                raise ImportError(f"a submission cannot import {args[0]}")
        elif event.startswith(refused):
            raise PermissionError(f"a submission cannot use {event}")
        elif event == "open" or event.startswith(("os.", "shutil.")):
            for path in args:
                try:
                    file = stat(path)
                except (OSError, TypeError, ValueError):
                    continue
                kind = file.st_mode & 0o170000  # other paths may be relative to an open folder; a device is a terminal
                is_refused = event == "open" and kind in (0o040000, 0o020000, 0o060000) and file.st_rdev != null
                if is_refused or (file.st_dev, file.st_ino) in of_captioner or file.st_dev == of_processes:
                    raise PermissionError(f"a submission cannot use {path}")

    sys.addaudithook(refuse)


def main(descriptor: int) -> None:
    """Execute the file that the grader sends, and then what it asks for, until it is killed."""

    def read(size: int) -> bytes:
        content = b""
        while len(content) < size:
            part = os.read(descriptor, size - len(content))
            if not part:  # the grader has ended
                os._exit(0)
            content += part
        return content

    def write(content: bytes) -> None:
        while content:
            content = content[os.write(descriptor, content) :]  # noqa: TID251 - to the grader, no output

    channel = Channel(read, write)
    path, text, names = channel.receive()
    stubs = _import_stubs(channel, names)
    _refuse_ways_out()
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    name = os.path.basename(path)
    module = sys.modules[name] = ModuleType(name)  # dataclasses and pickle look for it there
    module.__file__ = path
    try:
        exec(compile(text.tobytes(), path, "exec", dont_inherit=True), vars(module))
    except SyntaxError as error:
        channel.send("raised", f"{error.filename}:{error.lineno}: {describe(error)}")
    except BaseException as error:
        channel.send("raised", f"{path}: {describe(error)}")
    values = {name: vars(module).get(name) for name in names}
    found = {name: value for name, value in values.items() if callable(value) and value not in stubs}
    channel.send("loaded", [*found])
    while True:
        name, arguments, keeps_last = channel.receive()
        message = watched_call(found[name], arguments, keeps_last)
        try:
            channel.send(*message)
        except Exception as error:
            channel.send("raised", f"returns values that cannot be sent: {error}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
