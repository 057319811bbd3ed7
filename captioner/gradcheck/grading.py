"""Grade the files of students: their code runs in a child process, the verdict is computed in this one."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.errors import UsageError, printable
from captioner.files.user_files import read_bytes
from captioner.gradcheck import submission
from captioner.gradcheck.student_file import (
    SIGNATURES,
    FunctionResult,
    Functions,
    RemoteFunction,
    Signature,
    Signatures,
    all_names,
    calls_of,
    check_functions,
    checked_name,
    function_names,
)

TIMEOUT = 5.0
"""The seconds for loading a file, and for each function."""
KEPT_OUTPUT = 2000
"""Characters of what a submission prints that are kept: the last ones."""
MAX_NUMBER = 1024
"""The maximum size of an array, of a dimension, and of an integer with which a submission calls captioner."""
MAX_TEXT = 1 << 22
MAX_POINTS = 1_000_000


class Grade(NamedTuple):
    """The results of a file: the points of each required function, why it has none, and what prevents all of them."""

    path: Path
    points: Mapping[str, float]
    results: Mapping[str, FunctionResult]
    problem: str = ""
    printed: str = ""

    def failed(self) -> list[str]:
        """Return the required functions that fail or are missing."""
        return [name for name in self.points if self.results[name].problem]

    def record(self) -> dict[str, Any]:
        """Return the results that Gradescope reads. Source: its autograder specification, results.json."""
        tests = []
        for name, points in self.points.items():
            score, status = (0.0, "failed") if self.results[name].problem else (points, "passed")
            test = {"name": name, "score": score, "max_score": points, "status": status}
            tests.append(test | {"output": self.results[name].line()})
        return {
            "score": sum(test["score"] for test in tests),
            "output": "\n".join(filter(None, (self.problem, self.printed))),
            "tests": tests,
            "extra_data": {"file": str(self.path), "max_score": sum(self.points.values())},
        }


class Submission:
    """The functions of a file, in a process that is started again after one that ended or was killed."""

    def __init__(
        self,
        path: Path,
        text: bytes | UsageError,
        names: Sequence[str],
        reference: Functions,
        seconds: float,
        paths: Sequence[Path],
    ) -> None:
        self._path, self._text, self._names, self._paths = str(path), text, names, [*map(str, paths)]
        self._reference, self._seconds = reference, seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self.offered: set[str] = set()
        self.next_function()

    def load(self) -> dict[str, RemoteFunction]:
        """Start the process, execute the file, and return its functions; `problem` says why there are none."""
        self.next_function()
        if isinstance(self._text, UsageError):
            self.problem = str(self._text)
            return {}
        self._socket, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-B", "-u", submission.__file__]
        command += [str(theirs.fileno()), str(os.getpid())]
        with theirs:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output,
                pass_fds=[theirs.fileno()], start_new_session=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        self._stream = self._socket.makefile("rb")
        kind, value = self._ask((self._path, np.frombuffer(self._text, np.uint8), self._names, self._paths))
        self._left = self._seconds
        if kind == "raised":
            self._stop()
            self.problem = f"{self._path}: {value}"
            return {}
        names = [name for name in self._names if isinstance(value, list) and name in value]
        return {name: RemoteFunction(functools.partial(self._call, name)) for name in names}

    def defined(self) -> set[str]:
        """Return the names that the text of the file defines as functions."""
        text = b"" if isinstance(self._text, UsageError) else self._text
        return {name for name in self._names if re.search(rb"^def %s\b" % name.encode(), text, re.MULTILINE)}

    def next_function(self) -> None:
        """Give the next function its own time, even if the last one ended the process."""
        self.problem, self._left = "", self._seconds

    def printed(self) -> str:
        """Return the end of what the code printed."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace")[-KEPT_OUTPUT:]

    def close(self) -> None:
        """Kill the process."""
        self._stop()
        self._output.close()

    def _call(self, *message: Any) -> tuple[str, Any]:
        """Return what `run` returns in the process; every failure of the process is one of the function."""
        if not self.problem and self._process is None:
            self.load()
        return ("raised", self.problem) if self.problem else self._ask(message)

    def _ask(self, message: tuple[Any, ...]) -> tuple[str, Any]:
        """Send a message, and wait for its answer, within the time that is left."""
        start = time.monotonic()
        timer = threading.Timer(self._left, self._expire)
        timer.start()
        try:
            self._socket.sendall(submission.dumps(message))
            while (answer := submission.receive(self._stream))[0] == "ask":
                self._socket.sendall(submission.dumps(self._compute(*answer[1:])))
            kind, value = answer
            result = kind, value if kind == "returned" else printable({"raised": value}[kind], 1000)
        except Exception:  # of any type: the bytes are those of the submission
            self.problem = self.problem or self._end()
        finally:
            timer.cancel()
            timer.join()
        if self.problem:
            self._stop()
            return "raised", self.problem
        self._left -= time.monotonic() - start
        return result

    def _compute(self, name: str, arguments: list[Any], options: dict[str, Any]) -> tuple[str, Any]:
        """Compute a function of captioner for the submission."""
        functions = {name: self._reference[name] for name in self.offered if name in self._reference}
        if name not in functions:
            return "raised", "is not available here: write it"
        if not _is_small([arguments, options]):
            return "raised", f"takes arrays of at most {MAX_NUMBER:,} numbers here"
        return submission.run(functions, name, arguments, options)

    def _expire(self) -> None:
        self.problem = f"exceeds the time limit of {self._seconds:g} s"
        self._socket.shutdown(socket.SHUT_RDWR)  # ends `_ask` even if the code keeps the other end open

    def _end(self) -> str:
        """Describe how the process ended."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout=1)
            return f"ends the process ({f'exit code {code}' if code >= 0 else signal.strsignal(-code)})"
        return "sends no answer that can be read"

    def _stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._stream.close()
            self._socket.close()
            self._process = None


def _is_small(value: Any) -> bool:
    """Return whether a call of captioner with this value needs little time and memory."""
    if isinstance(value, submission.Cached):
        value = [value.arguments, value.options]
    if isinstance(value, list | dict):
        return all(map(_is_small, value.values() if isinstance(value, dict) else value))
    sizes = [abs(value)] if isinstance(value, int) else [np.size(value), *np.shape(value)]
    return all(size <= MAX_NUMBER for size in sizes)


def read_points(text: str, signatures: Signatures = SIGNATURES) -> dict[str, float]:
    """Return the points of functions from text such as `rnn_step,lstm_step_backward=3`: a pair means both functions.

    Raises: UsageError.
    """
    points: dict[str, dict[str, float]] = {"pair": {}, "function": {}}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        checked_name(name, [*signatures, *all_names(signatures)])
        value = math.nan
        with contextlib.suppress(ValueError):
            value = float(number or 1)
        if not 0 < value <= MAX_POINTS:
            raise UsageError(
                f"{part.strip()}: expected NAME=POINTS with points above 0, up to {MAX_POINTS:,}, such as {name}=2"
            )
        is_pair = name in signatures and name not in all_names(signatures)
        names = function_names(name, signatures) if is_pair else [name]
        points["pair" if is_pair else "function"].update(dict.fromkeys(names, value))
    merged = points["pair"] | points["function"]
    return {name: merged[name] for name in all_names(signatures) if name in merged}


def load_cases(path: Path, reference: Functions) -> tuple[Signatures, Functions]:
    """Execute a file of a teacher, and return the signatures and the reference with those that it defines.

    Raises: UsageError.
    """
    namespace: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    if problem := submission.execute(str(path), _read(path), namespace):
        raise UsageError(f"{path}: {problem}")
    own = namespace.get("SIGNATURES")
    if not isinstance(own, dict) or not own or not all(isinstance(value, Signature) for value in own.values()):
        raise UsageError(f"{path}: expected SIGNATURES = {{name: captioner.gradcheck.Signature(...)}}")
    replaced = {f"{name}_backward" for name in own if f"{name}_forward" in namespace}
    reference = {name: function for name, function in reference.items() if name not in replaced} | namespace
    signatures = {**SIGNATURES, **own}
    for name in own:
        try:
            _offered([name], signatures)
            list(calls_of(name, signatures, {}, reference))
        except Exception as error:  # of any type: the functions are those of the teacher
            raise UsageError(f"{path}: {name} does not fit its reference: {type(error).__name__}: {error}") from error
    return signatures, reference


def grade_files(
    paths: Sequence[Path],
    reference: Functions,
    points: Mapping[str, float],
    signatures: Signatures = SIGNATURES,
    seconds: float = TIMEOUT,
) -> Iterator[Grade]:
    """Grade files; without `points`, every function of a file and the other one of its pair has one point.

    All files are read before the first one is executed.

    Raises: UsageError for a single file that cannot be read.
    """
    texts: list[bytes | UsageError] = []
    for path in paths:
        try:
            texts.append(_read(path))
        except UsageError as error:
            if len(paths) == 1:
                raise
            texts.append(error)
    for path, text in zip(paths, texts, strict=True):
        with contextlib.closing(Submission(path, text, all_names(signatures), reference, seconds, paths)) as student:
            grade = _grade(path, student, reference, points, signatures)
        yield grade  # its process has ended, and cannot change what is written


def _read(path: Path) -> bytes:
    if path.suffix == ".ipynb":
        raise UsageError(
            f"{path}: expected a Python file, got a notebook; write %%writefile student.py into the first line of "
            "the cell with the functions, or check them there with captioner.cs231n.notebook.check(FUNCTION, ...)"
        )
    text = read_bytes(path, MAX_TEXT, UsageError, "a Python file")
    if b"\0" in text:
        raise UsageError(f"{path}: expected text, got NUL bytes, such as those of UTF-16; save it as UTF-8")
    return text


def _grade(
    path: Path, student: Submission, reference: Functions, points: Mapping[str, float], signatures: Signatures
) -> Grade:
    names = all_names(signatures)
    pair_of = {function: name for name in signatures for function in function_names(name, signatures)}
    # without points, what is required is known after the file is loaded
    student.offered = _offered({pair_of[name] for name in points}, signatures) if points else {*names}
    functions = student.load()
    problem, defined = student.problem, student.defined()
    if not functions and not points:
        problem = problem or f"{path}: expected at least one of these functions, got none: {', '.join(names)}"
    pairs = {pair_of[name] for name in points or {*functions, *defined}}
    student.offered = _offered(pairs, signatures)
    points = points or {name: 1.0 for name in names if pair_of[name] in pairs}
    why = dict.fromkeys(names, "the file does not define it")
    why |= dict.fromkeys(defined, "an import of captioner's replaces it; delete its name there")
    missing = {name: f"not checked: {problem}" if problem else f"missing: {why[name]}" for name in points}
    results = {name: FunctionResult(name, missing[name], np.inf) for name in points}
    chosen = {name: function for name, function in functions.items() if pair_of[name] in pairs}
    for result in check_functions(chosen, reference, signatures):
        student.next_function()
        results[result.name] = result
    return Grade(path, points, results, problem, student.printed())


def _offered(required: Iterable[str], signatures: Signatures) -> set[str]:
    """Return the functions that a submission may take from captioner: those that required ones call.

    None of them may call a required one: an RNN of one step is a step.
    """

    def inner(name: str) -> set[str]:
        return {name}.union(*(inner(used) for used in signatures[name].uses))

    required = {*required}
    offered = {name for name in set().union(*map(inner, required)) if not inner(name) & required}
    return {function for name in offered for function in function_names(name, signatures)}
