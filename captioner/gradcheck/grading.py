"""Grade the files of students: their code runs in a process of its own, the verdict is computed in this one."""

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

KEPT_OUTPUT = 2000
"""Characters of what a submission prints that are kept: the last ones."""
MAX_NUMBER = 1024
"""The maximum size of an array, of a dimension, and of an integer with which a submission calls captioner."""
MAX_TEXT = 1 << 24
UNREADABLE = "sends an answer that cannot be read"


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

    def score(self) -> float:
        """Return the points of the functions that pass."""
        return sum(self.points.values()) - sum(self.points[name] for name in self.failed())

    def record(self) -> dict[str, Any]:
        """Return the results that Gradescope reads. Source: its autograder specification, results.json."""
        tests = [
            {
                "name": name,
                "score": 0.0 if self.results[name].problem else points,
                "max_score": points,
                "status": "failed" if self.results[name].problem else "passed",
                "output": self.results[name].line(),
            }
            for name, points in self.points.items()
        ]
        output = "\n".join(filter(None, (self.problem, self.printed)))
        extra = {"file": str(self.path), "max_score": sum(self.points.values())}
        return {"score": self.score(), "output": output, "tests": tests, "extra_data": extra}


class Submission:
    """The functions of a file, in a process that is started again after one that ended or was killed.

    Every failure of the process is a message "raised" of the function that was called.
    """

    def __init__(self, path: Path, text: bytes, names: Sequence[str], reference: Functions, seconds: float) -> None:
        self._file, self._names = (str(path), np.frombuffer(text + b"\n", np.uint8), names), names
        self._reference, self._seconds = reference, seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self.offered: set[str] = set()
        self.next_function()

    def next_function(self) -> None:
        """Give the next function its own time, even if the last one ended the process."""
        self._problem, self._left = "", self._seconds

    def load(self) -> tuple[dict[str, RemoteFunction], str]:
        """Execute the file, and return its functions, or none and the problem."""
        _, value = self._start()
        defined = {name for name in value if isinstance(name, str)} if isinstance(value, tuple) else set()
        calls = {name: functools.partial(self._call, name) for name in self._names if name in defined}
        return {name: RemoteFunction(call) for name, call in calls.items()}, self._problem

    def printed(self) -> str:
        """Return the end of what the code printed."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - 4 * KEPT_OUTPUT))
        return self._output.read().decode(errors="replace")[-KEPT_OUTPUT:]

    def close(self) -> None:
        """Kill the process."""
        self._stop()
        self._output.close()

    def _start(self) -> tuple[str, Any]:
        self._socket, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-B", "-u", submission.__file__, str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output,
                pass_fds=[theirs.fileno()], start_new_session=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        self._channel = submission.Channel(self._read, self._write)
        self.next_function()
        kind, value = self._ask("loaded", self._file)
        if kind != "loaded":
            self._stop()
            self._problem = value if kind == "raised" and not self._problem else f"{self._file[0]}: {self._problem}"
        self._left = self._seconds
        return kind, value

    def _call(self, name: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
        """Call a function in the process."""
        if not self._problem and self._process is None:
            self._start()
        if self._problem:
            return "raised", self._problem
        sent = [a.value if isinstance(a, submission.Kept) else a for a in arguments]
        watched = sum(len(a.watched) if isinstance(a, submission.Kept) else 1 for a in arguments)
        return self._ask("returned", (name, sent, name.endswith("_forward")), watched)

    def _ask(self, expected: str, message: tuple[Any, ...], watched: int = 0) -> tuple[str, Any]:
        """Send a message, and wait for its answer, within the time that is left; `watched` values may be modified."""
        start = time.monotonic()
        self._deadline = start + self._left
        try:
            self._channel.send(*message)
            while (answer := self._channel.receive())[0] == "ask":
                self._channel.send(*self._compute(*answer[1:]))
            kind, value = answer
            if kind == "raised":
                return kind, printable(value, 1000)
            is_index = type(value) is int and value in range(watched)
            if isinstance(value, submission.Kept) or not (is_index if kind == "modified" else kind == expected):
                raise ValueError(UNREADABLE)
            return kind, value
        except TimeoutError:
            self._problem = f"exceeds the time limit of {self._seconds:g} s"
        except (EOFError, OSError):
            self._problem = self._end()
        except Exception:  # of any type: the bytes are those of the submission
            self._problem = UNREADABLE
        finally:
            self._left -= time.monotonic() - start
        self._stop()
        return "raised", self._problem

    def _compute(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[str, Any]:
        """Compute a function of captioner for the submission."""
        if name not in self.offered:
            return "refused", "is not available here: write it"
        if not _is_small((arguments, options)):
            return "refused", f"takes arrays of at most {MAX_NUMBER:,} numbers here"
        named = {key: value.value if isinstance(value, submission.Kept) else value for key, value in options.items()}
        function = functools.partial(self._reference[name], **named)
        return submission.watched_call(function, arguments, keeps_last=name.endswith("_forward"))

    def _read(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size:
            self._limit_time()
            part = self._socket.recv(min(size - len(content), 1 << 20))
            if not part:
                raise EOFError
            content += part
        return bytes(content)

    def _write(self, content: bytes) -> None:
        self._limit_time()
        self._socket.sendall(content)

    def _limit_time(self) -> None:
        """Let the next operation wait for the time that is left. Raises: TimeoutError if there is none."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def _end(self) -> str:
        """Describe how the process ended."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "closes the connection to the grader"
        how = f"exit code {code}" if code >= 0 else f"signal {-code}, {signal.strsignal(-code)}"
        return f"ends the process ({how})"

    def _stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._socket.close()
            self._process = None


def _is_small(value: Any) -> bool:
    """Return whether a call of captioner with this value needs little time and memory."""
    if isinstance(value, submission.Kept):
        return True
    if isinstance(value, tuple | dict):
        return all(map(_is_small, value.values() if isinstance(value, dict) else value))
    sizes = [abs(value)] if isinstance(value, int) else [np.size(value), *np.shape(value)]
    return all(size <= MAX_NUMBER for size in sizes)


def read_points(text: str, signatures: Signatures = SIGNATURES) -> dict[str, float]:
    """Return the points of functions from text such as `rnn_step,lstm_step_backward=3`: a pair means both functions.

    Raises: UsageError.
    """
    points = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        checked_name(name, [*signatures, *all_names(signatures)])
        try:
            value = float(number or 1)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise UsageError(f"{part.strip()}: expected NAME=POINTS with points above 0, such as {name}=2")
        points.update(dict.fromkeys(function_names(name, signatures) if name in signatures else [name], value))
    return {name: points[name] for name in all_names(signatures) if name in points}


def load_cases(path: Path, reference: Functions) -> tuple[Signatures, Functions]:
    """Execute a file of a teacher, and return the signatures and the reference with those that it defines.

    Raises: UsageError.
    """
    namespace: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    text = read_bytes(path, MAX_TEXT, UsageError, "a Python file")
    try:
        exec(compile(text, path, "exec", dont_inherit=True), namespace)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{path}: {submission.describe(error)}") from error
    own = namespace.get("SIGNATURES")
    if not isinstance(own, dict) or not own or not all(isinstance(value, Signature) for value in own.values()):
        raise UsageError(f"{path}: expected SIGNATURES = {{name: captioner.gradcheck.Signature(...)}}")
    signatures, reference = {**SIGNATURES, **own}, {**reference, **namespace}
    for name in own:
        try:
            _offered([name], signatures)
            list(calls_of(name, signatures, {}, reference))
        except Exception as error:  # of any type: the functions are those of the teacher
            forward = function_names(name, signatures)[0]
            raise UsageError(
                f"{path}: the reference {forward} does not fit the signature {name}: {type(error).__name__}: {error}"
            ) from error
    return signatures, reference


def grade_files(
    paths: Sequence[Path],
    reference: Functions,
    points: Mapping[str, float],
    signatures: Signatures = SIGNATURES,
    seconds: float = 10.0,
) -> Iterator[Grade]:
    """Grade files; without `points`, every function of a file and the other one of its pair has one point.

    All files are read before the first one is executed.

    Raises: UsageError for a notebook, and for a single file that cannot be read.
    """
    texts: list[bytes | UsageError] = []
    for path in paths:
        if path.suffix == ".ipynb":
            raise UsageError(
                f"{path}: expected a Python file, got a notebook; write %%writefile student.py into the first line of "
                "the cell with the functions, or check them there with captioner.gradcheck.check(FUNCTION, ...)"
            )
        try:
            texts.append(read_bytes(path, MAX_TEXT, UsageError, "a Python file"))
        except UsageError as error:
            if len(paths) == 1:
                raise
            texts.append(error)
    for path, text in zip(paths, texts, strict=True):
        if isinstance(text, UsageError):
            yield _ungraded(path, points, str(text))
            continue
        student = Submission(path, text, all_names(signatures), reference, seconds)
        with contextlib.closing(student):
            # code that runs while the file is loaded may call what its functions may call
            likely = points or re.findall(r"def (\w+)", text.decode(errors="replace"))
            grade = _grade(path, student, reference, points, likely, signatures)
            yield grade._replace(printed=student.printed())


def _grade(
    path: Path,
    student: Submission,
    reference: Functions,
    points: Mapping[str, float],
    likely: Iterable[str],
    signatures: Signatures,
) -> Grade:
    names = all_names(signatures)
    pair_of = {function: name for name in signatures for function in function_names(name, signatures)}
    student.offered = _offered({pair_of[name] for name in likely if name in pair_of}, signatures)
    functions, problem = student.load()
    if not functions and not points:
        problem = problem or f"{path}: expected at least one of these functions, got none: {', '.join(names)}"
    if problem:
        return _ungraded(path, points, problem)
    pairs = {pair_of[name] for name in points or functions}
    student.offered = _offered(pairs, signatures)
    points = points or {name: 1.0 for name in names if pair_of[name] in pairs}
    results = {name: FunctionResult(name, "missing: the file does not define it", np.inf) for name in points}
    wrong = ""
    chosen = {name: function for name, function in functions.items() if pair_of[name] in pairs}
    for result in check_functions(chosen, reference, signatures):
        student.next_function()
        pair = pair_of[result.name]
        if wrong == pair and not result.problem:  # a constant has a correct gradient, too
            result = result._replace(problem="is correct for its forward function, which is wrong")
        wrong = pair if result.problem else ""
        results[result.name] = result
    return Grade(path, points, results)


def _ungraded(path: Path, points: Mapping[str, float], problem: str) -> Grade:
    """Return the grade of a file whose functions cannot be called."""
    results = {name: FunctionResult(name, f"not checked: {problem}", np.inf) for name in points}
    return Grade(path, points, results, problem)


def _offered(required: Iterable[str], signatures: Signatures) -> set[str]:
    """Return the functions that a submission may take from captioner: those that required ones call.

    None of them may call a required one: an RNN of one step is a step.
    """

    def inner(name: str) -> set[str]:
        return {name}.union(*(inner(used) for used in signatures[name].uses))

    required = {*required}
    offered = {name for name in set().union(*map(inner, required)) if not inner(name) & required}
    return {function for name in offered for function in function_names(name, signatures)}
