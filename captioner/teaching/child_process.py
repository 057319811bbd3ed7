"""Execute the file of a student in a child process, and call its functions for the grader.

The grader (`grading`) starts this file as a script. The process contains no right answers: the grader keeps the
reference and the verdict, and whatever this process sends only passes if it is numerically right. But the process has
the rights of the grader, and could write its memory and files. The audit hook refuses the direct ways: captioner's own
functions, other processes and submissions, native code, the network.

A message is a line of JSON. The grader sends the arguments of `run`, and this process answers with what it returns.
Before it answers, it may send ["ask", name, arguments, options] for a function that the grader computes.

Only NumPy and the standard library are imported. Limits and signals need Linux, as does all of captioner.
"""

from __future__ import annotations

import ast
import base64
import ctypes
import json
import os
import pickle
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from traceback import format_exception_only, walk_tb
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple

import numpy as np

PACKAGE = Path(__file__).parents[1]
LIMIT = 1 << 23
"""The maximum bytes of a message."""
FILE_SIZE = 1 << 26
"""The maximum bytes of a file that is written, also of what is printed."""
MODULES = (
    "arrays", "gradcheck", "gradcheck.numeric", "cs231n", "cs231n.gradient_check", "cs231n.notebook",
    *(f"cs231n.{name}layers" for name in ("", "rnn_", "attention_", "transformer_")),
)  # fmt: skip
"""The modules of captioner that exercises import."""
NUMERIC = ("gradcheck/numeric.py", "cs231n/gradient_check.py")
"""The files of captioner that this process executes: numeric gradients, which contain no solution."""
SOLUTIONS = ("docs/course", "tests/teaching", "tests/cli", "benchmarks")
"""The folders with solutions of captioner's clone and of one that is the working directory."""
REFUSED = (
    "cpython.PyInterpreterState_New", "ctypes.", "gc.", "os.exec", "os.fork", "os.kill", "os.posix_spawn", "os.spawn",
    "os.system", "pty.", "resource.", "socket.bind", "socket.connect", "socket.send", "subprocess.",
)  # fmt: skip
"""Audit events of native code, other processes and the network, and of objects such as the hook."""


@dataclass
class Kept:
    """The cache of a forward function, with the arguments and results of the call, which it may share: it stays in the
    process that made it, and others have its number.
    """

    number: int
    cache: Any = None
    shared: Sequence[Any] = ()


@dataclass
class Unknown:
    """A value that is no number, array, text or container of these: only the name of its type is sent."""

    type_name: str


def dumps(value: Any) -> bytes:
    """Return a value as a line of JSON. Raises: ValueError if it is too long, or contains itself."""
    try:
        content = json.dumps(value, default=_pack, skipkeys=True).encode() + b"\n"
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a value cannot be sent: {error}") from None
    if len(content) > LIMIT:
        raise ValueError(f"a value cannot be sent: expected at most {LIMIT:,} bytes")
    return content


def _pack(value: Any) -> dict[str, Any]:
    """Return an array or a number of a cache as JSON, and of other values the names of their types, or of elements."""
    if isinstance(value, Kept):
        return {"_kept": value.number}
    if (type(value) is np.ndarray or isinstance(value, np.generic)) and value.dtype.kind in "biufc":
        if value.nbytes > LIMIT:
            raise ValueError(f"expected arrays of at most {LIMIT:,} bytes, got {value.nbytes:,}")
        return {"_array": [value.dtype.str, value.shape, base64.b64encode(value.tobytes()).decode()]}
    return {"_type": value.dtype.name if type(value) is np.ndarray else type(value).__name__}


def receive(stream: BinaryIO) -> Any:
    """Return the value that the `dumps` of the other process packed. Raises: Exception of any type if it is none."""
    return json.loads(stream.readline(LIMIT), object_hook=_unpack)


def _unpack(value: dict[str, Any]) -> Any:
    match value:
        case {"_kept": int(number)}:
            return Kept(number)
        case {"_array": [dtype, shape, data]}:  # a copy can be written
            return np.frombuffer(base64.b64decode(data), dtype[:4]).reshape(shape).copy()
        case {"_type": str(name)}:
            return Unknown(name)
    return value


def describe(error: BaseException) -> str:
    """Describe the exception that a file raised, with its line."""
    if isinstance(error, NotImplementedError):
        return "not implemented"
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    frames = [frame for frame in frames if frame[0] != __file__]
    place = "".join([f" (line {line})" for file, line in frames if file == frames[0][0]][-1:])
    message = f"SyntaxError: {error}" if isinstance(error, SyntaxError) else format_exception_only(error)[0].strip()
    return f"raised {message[:300]}{place}"


def execute(path: str, text: bytes, namespace: dict[str, Any]) -> str:
    """Execute a file, and return its problem, or ""."""
    try:
        exec(compile(_parse(path, text), path, "exec", dont_inherit=True), namespace)
    except (Exception, SystemExit) as error:
        return describe(error)
    return ""


def _parse(path: str, text: bytes) -> Any:
    """Parse a file; a module that is missing fails no import at its top level whose names are never used."""
    tree: Any = compile(text, path, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    nodes = [*ast.walk(tree)]
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    (tolerant,) = ast.parse("try: pass\nexcept ModuleNotFoundError: pass").body
    for place, node in enumerate(tree.body):
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", "") != "__future__":
            names = {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
            if used.isdisjoint(names):
                tree.body[place] = ast.Try([node], tolerant.handlers, [], [])  # type: ignore[attr-defined]
    return ast.fix_missing_locations(tree)


def load_module(path: str, text: bytes) -> tuple[dict[str, Any], str]:
    """Execute a file as a module, which finds those beside it, and return its names and its problem, or ""."""
    sys.path.append(os.path.dirname(os.path.abspath(path)))  # last: other submissions may be named as modules of Python
    name = os.path.basename(path)
    module = sys.modules[name] = ModuleType(name)  # dataclasses and pickle look for it there
    module.__file__ = path
    return vars(module), execute(path, text, vars(module))


def run(
    functions: Mapping[str, Any], name: str, arguments: Sequence[Any], watched: Sequence[str] = ()
) -> tuple[str, Any]:
    """Call a function, and return "returned" and its value, or "raised" and what is wrong.

    The cache of a forward function is kept. `watched` names the values that the function must not change: arguments,
    and those and the results of calls that made caches among them.
    """
    parts = [part for value in arguments for part in (value.shared if isinstance(value, Kept) else [value])]
    try:
        before = [pickle.dumps(part) for part in parts]
        returned = functions[name](*(value.cache if isinstance(value, Kept) else value for value in arguments))
        for label, part, old in zip(watched, parts, before, strict=False):
            if pickle.dumps(part) != old:
                return "raised", f"modifies its argument {label}"
    except (Exception, SystemExit) as error:
        return "raised", describe(error)
    if name.endswith("_forward") and isinstance(returned, tuple | list) and returned:
        *outs, cache = returned
        returned = (*outs, Kept(0, cache, [*arguments, *outs]))
    return "returned", returned


class Stub(NamedTuple):
    """A function of captioner, which the grader computes."""

    name: str
    ask: Callable[..., Any]

    def __call__(self, *args: Any, **options: Any) -> Any:
        kind, value = self.ask("ask", self.name, args, options)
        if kind != "returned":
            raise RuntimeError(f"captioner's {self.name} {value}")
        return tuple(value) if isinstance(value, list) else value


def _import_stubs(stubs: dict[str, Any]) -> None:
    """Provide functions, and `check` and `save` without effect, in one module for all names of captioner's modules."""
    module = sys.modules["captioner"] = ModuleType("captioner")
    for name in MODULES:
        sys.modules[f"captioner.{name}"] = module
        setattr(module, name.rpartition(".")[2], module)
    vars(module).update(Array=Any, Params=Any)
    for file in NUMERIC:
        if problem := execute(file, (PACKAGE / file).read_bytes(), vars(module)):
            sys.exit(problem)
    vars(module).update(stubs, check=lambda *_, **__: None, save=lambda *_, **__: None, __all__=[*stubs])


def _identities(files: Iterable[Path]) -> frozenset[tuple[int, int]]:
    """Return the device and the inode of the files that exist."""
    found = set()
    for file in files:
        with suppress(OSError, ValueError):
            found.add((os.stat(file).st_dev, os.stat(file).st_ino))
    return frozenset(found)


def _restrict_process(others: Iterable[str], grader: int, memory: int) -> None:
    """Limit memory and files, and refuse what `REFUSED` lists, captioner's files and its course, and other files."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a stopped grader leaves no endless loop behind
    if os.getppid() != grader:  # it was stopped before
        sys.exit("the grader has ended")
    for limit, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, FILE_SIZE), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError):  # a lower limit is set
            resource.setrlimit(limit, (most, most))
    clones = {PACKAGE.parent, Path.cwd()}
    solutions = (file for clone in clones for folder in SOLUTIONS for file in (clone / folder).glob("*.*"))
    files = [*PACKAGE.rglob("*"), *solutions, *map(Path, others)]
    closed = _identities([*files, *(Path(cache_from_source(file)) for file in files if file.suffix == ".py")])
    native = tuple(f"{folder}{os.sep}" for folder in (sys.prefix, sys.base_prefix, Path(np.__file__).parents[1]))

    # All are arguments: the frame of an error shows the variables of a closure, and they could be replaced there.
    limits = os.stat, REFUSED, closed, native, os.stat("/proc").st_dev

    def refuse(event: str, args: tuple[Any, ...], limits: tuple[Any, ...] = limits) -> None:
        stat, refused, closed, native, proc = limits
        if event.startswith(refused):
            raise PermissionError(f"a submission cannot use {event}")
        # the solutions; interpreters without the audit hook
        if event == "import" and args[0].partition(".")[0] in ("captioner", "_interpreters"):
            raise ImportError(f"a submission cannot import {args[0]}")
        if event == "import" and args[1] and (".." in args[1] or not args[1].startswith(native)):
            raise PermissionError(f"a submission cannot use {args[1]}")
        if event == "open" or event.startswith(("os.", "shutil.")):
            for path in args[:1] if event == "open" else args:
                try:
                    file = stat(path)
                except (OSError, TypeError, ValueError):
                    continue
                if file.st_dev == proc or (file.st_dev, file.st_ino) in closed:
                    raise PermissionError(f"a submission cannot use {path}")

    sys.addaudithook(refuse)


def main(descriptor: int, process: int, memory: int) -> None:
    """Execute the file that the grader, a process, sends, and then what it asks for, until it is killed.

    `memory` is the maximum of bytes of address space.
    """
    grader = socket.socket(fileno=descriptor)
    stream = grader.makefile("rb")

    def ask(*message: Any) -> Any:
        grader.sendall(dumps(message))
        return receive(stream)

    path, text, names, closed = receive(stream)
    _import_stubs({name: Stub(name, ask) for name in names})
    _restrict_process({*closed} - {path}, process, memory)
    try:
        module, problem = load_module(path, text.tobytes())
    except KeyboardInterrupt as error:
        module, problem = {}, describe(error)
    values = {name: module.get(name) for name in names}
    found = {name: value for name, value in values.items() if callable(value) and not isinstance(value, Stub)}
    message = ("raised", problem) if problem else ("returned", [*found])
    kept = list[Kept]()
    while True:
        name, arguments, watched = ask(*message)
        arguments = [kept[value.number] if isinstance(value, Kept) else value for value in arguments]
        try:
            kind, value = run(found, name, arguments, watched)
        except KeyboardInterrupt as error:  # raised by the submission: its process has no terminal
            kind, value = "raised", describe(error)
        if isinstance(value, tuple) and isinstance(value[-1], Kept):
            value[-1].number = len(kept)
            kept.append(value[-1])
        message = kind, value
        try:
            dumps(message)
        except ValueError as error:
            message = "raised", str(error)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
