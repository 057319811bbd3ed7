"""Grade the files of students: their code runs in a child process, the verdict is computed in this one."""

from __future__ import annotations

import contextlib
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from captioner.errors import UsageError, printable, similar
from captioner.teaching import child_process
from captioner.teaching.function_checks import (
    LETTERS,
    Exercises,
    FunctionResult,
    RemoteFunction,
    Signature,
    check_functions,
)
from captioner.teaching.submissions import Submission, read_code, read_submission

TIMEOUT = 5.0
"""The seconds for loading a file, and for each function."""
MEMORY = 4096
"""The MB of address space of a child process."""
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
KEPT_OUTPUT = 2000
"""The number of characters kept from the end of what a submission prints."""
MAX_NUMBER = 1024
"""The maximum size of an array, of a dimension, and of an integer with which a submission calls captioner."""
MAX_POINTS = 1_000_000
SIMILARITY = 0.9
"""The least similarity of the names of a missing function and of one that is a misspelling of it."""
FULL = dict.fromkeys(("fw", "fwd"), "forward") | dict.fromkeys(("bw", "bwd", "back", "backprop"), "backward")
FORMS = re.compile(rf"(?<=_)({'|'.join(FULL)})$")
"""The short forms at the end of a name, and what they mean."""
REMEDY = "; hand in the notebook, or the file that captioner.cs231n.notebook.save writes"
"""For a file that was exported from a notebook with magics."""


class Grade(NamedTuple):
    """Points and result of each required function of a file, and the problem that prevents all checks."""

    path: Path
    points: Mapping[str, float]
    results: Mapping[str, FunctionResult]
    problem: str = ""
    printed: str = ""

    def scores(self) -> dict[str, float]:
        """Return the points that each required function has."""
        return {name: 0.0 if self.results[name].problem else points for name, points in self.points.items()}

    def failed(self) -> list[str]:
        """Return the required functions that fail or are missing."""
        return [name for name in self.points if self.results[name].problem]

    def record(self) -> dict[str, Any]:
        """Return the results that Gradescope reads. Source: its autograder specification, results.json."""
        tests = []
        for name, score in self.scores().items():
            status = "passed" if score else "failed"
            test = {"name": name, "score": score, "max_score": self.points[name], "status": status}
            tests.append(test | {"output": self.results[name].line()})
        return {
            "score": sum(self.scores().values()),
            "output": "\n".join(filter(None, (self.problem, self.printed))),
            "tests": tests,
            "extra_data": {"file": str(self.path), "max_score": sum(self.points.values())},
        }


class Limits(NamedTuple):
    """What a submission may use."""

    seconds: float = TIMEOUT
    """For loading a file, and for each function."""
    memory: int = MEMORY
    """The MB of address space of its process."""

    @property
    def problem(self) -> str:
        """The problem of a function that needs more time."""
        return f"exceeds the time limit of {self.seconds:g} s"


LIMITS = Limits()


@dataclass
class StudentProcess:
    """The functions of a file, in a process that is started again after one that ended or was killed.

    `names` are those that it may define, `offered` those of captioner that it may call, and
    `closed` the files that it may not use.
    """

    submission: Submission
    names: Sequence[str]
    limits: Limits
    closed: Sequence[Path]
    offered: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    _slow: set[str] = field(default_factory=set)
    """The functions that exceeded the time limit."""
    _left: float = 0.0
    _process: subprocess.Popen[bytes] | None = None
    _output: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def load(self) -> dict[str, RemoteFunction]:
        """Start the process, execute the file, and return its functions; `problem` says why there are none."""
        self.next_function()
        self._socket, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-B", "-u", child_process.__file__]
        command += [str(theirs.fileno()), str(os.getpid()), str(self.limits.memory << 20)]
        with theirs:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output,
                pass_fds=[theirs.fileno()], start_new_session=True, env=os.environ | ENVIRONMENT,
            )  # fmt: skip
        self._stream = self._socket.makefile("rb")
        closed = [*map(str, self.closed)]
        path, text = self.submission.path, self.submission.text
        kind, value = self._ask((str(path), np.frombuffer(text, np.uint8), self.names, closed))
        self._left = self.limits.seconds
        if kind == "raised":
            self._stop()
            self.problem = f"{path}: {value}{REMEDY if 'get_ipython' in str(value) else ''}"
            return {}
        found = {name for name in value if isinstance(name, str)} if isinstance(value, list) else {}
        names = [name for name in self.names if name in found]
        return {name: RemoteFunction(self._call, name) for name in names}

    def next_function(self) -> None:
        """Give the next function its own time, even if the last one ended the process."""
        self.problem, self._left = "", self.limits.seconds

    def printed(self) -> str:
        """Kill the process, and return the end of what it printed."""
        self._stop()
        file, most = self._output.fileno(), 4 * KEPT_OUTPUT  # bytes
        with contextlib.suppress(OSError):  # the process shared the file, and may have changed how it is open
            content = os.pread(file, most, max(0, os.fstat(file).st_size - most))
            return content.decode(errors="replace")[-KEPT_OUTPUT:]
        return ""

    def close(self) -> None:
        """Kill the process."""
        self._stop()
        self._output.close()

    def _call(self, name: str, *message: Any) -> tuple[str, Any]:
        """Return what `run` returns in the process; every failure of the process is one of the function."""
        if slow := sorted(self._slow & self.submission.needed([name])):  # do not wait for it again
            return "raised", f"not checked: {slow[0]} {self.limits.problem}"
        if not self.problem and self._process is None:
            self.load()
        result = ("raised", self.problem) if self.problem else self._ask((name, *message))
        if self.problem == self.limits.problem:
            self._slow.add(name)
        return result

    def _ask(self, message: tuple[Any, ...]) -> tuple[str, Any]:
        """Send a message, and wait for its answer, within the time that is left."""
        start = time.monotonic()
        timer = threading.Timer(self._left, self._expire)
        timer.start()
        try:
            self._socket.sendall(child_process.dumps(message))
            while (answer := child_process.receive(self._stream))[0] == "ask":
                self._socket.sendall(child_process.dumps(self._compute(*answer[1:])))
            kind, value = answer
            if kind not in ("returned", "raised"):
                raise ValueError(kind)
            result = kind, self.submission.placed(printable(value, 1000)) if kind == "raised" else value
        except Exception:  # of any type: the bytes are those of the submission
            self.problem = self.problem or self._end()
        finally:
            timer.cancel()
            timer.join()
        if self.problem:
            self._stop()
            return "raised", self.problem
        if kind == "raised" and "MemoryError" in result[1]:
            return "raised", f"exceeds the {self.limits.memory} MB of memory: {result[1]}"
        self._left -= time.monotonic() - start
        return result

    def _compute(self, name: str, arguments: list[Any], options: dict[str, Any]) -> tuple[str, Any]:
        """Compute a function of captioner for the child process."""
        if name not in self.offered:
            return "raised", "is not available here: write it"
        if not _is_small([arguments, options]):
            return "raised", f"takes arrays of at most {MAX_NUMBER:,} numbers here"
        with np.errstate(all="ignore"), contextlib.suppress(ValueError):
            try:
                value = self.offered[name](*arguments, **options)
            except Exception as error:  # of any type: the arguments are those of the submission
                return "raised", child_process.describe(error)
            child_process.dumps(value)
            return "returned", value
        return "raised", "returns too many numbers here"

    def _expire(self) -> None:
        self.problem = self.limits.problem
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
    if isinstance(value, list | dict):
        return all(map(_is_small, value.values() if isinstance(value, dict) else value))
    shape = [n for n in np.shape(value) if n]  # of an empty array, others may be large
    sizes = [abs(value)] if isinstance(value, int) else [math.prod(shape), *shape]
    return all(size <= MAX_NUMBER for size in sizes)


def read_points(text: str, exercises: Exercises) -> dict[str, float]:
    """Return the points of functions from text such as `rnn_step,lstm_step_backward=3`: a pair means both functions.

    Raises: UsageError.
    """
    points, given = dict[str, float](), dict[str, float]()
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, number = part.partition("=")
        if exercises.checked_name(name, exercises.signatures) in given:
            raise UsageError(f"{name}: expected each function once")
        given[name] = math.nan
        with contextlib.suppress(ValueError):
            given[name] = float(number) if equals else 1.0
        if not 0 < given[name] <= MAX_POINTS:
            raise UsageError(
                f"{part}: expected NAME=POINTS with points above 0, up to {MAX_POINTS:,}, such as {name}=2"
            )
    if not given:
        raise UsageError(f"expected names of functions, such as rnn_step,lstm_step=2, got {text!r}")
    for name in sorted(given, key=exercises.names.__contains__):  # a function after its pair
        points |= dict.fromkeys([name] if name in exercises.names else exercises.pair(name), given[name])
    return {name: points[name] for name in exercises.names if name in points}


def load_cases(path: Path | None, usual: Exercises) -> Exercises:
    """Execute a file of a teacher, if there is one, and return the exercises with those that it defines.

    Raises: UsageError.
    """
    if path is None:
        return usual
    before = {*sys.modules}
    namespace, problem = child_process.load_module(str(path), read_code(path))
    if problem:
        raise UsageError(f"{path}: {problem}")
    own = namespace.get("SIGNATURES")
    if not isinstance(own, dict) or not own or not all(isinstance(value, Signature) for value in own.values()):
        raise UsageError(f"{path}: expected SIGNATURES = {{name: captioner.teaching.function_checks.Signature(...)}}")
    replaced = {f"{name}_backward" for name in own if f"{name}_forward" in namespace}
    reference = {name: function for name, function in usual.reference.items() if name not in replaced} | namespace
    exercises = Exercises(reference, {**usual.signatures, **own})
    for name, signature in own.items():
        if exercises.pair(name)[0] not in reference:
            raise UsageError(f"{path}: expected the function {exercises.pair(name)[0]} for {name} of SIGNATURES")
        letters = {*LETTERS, *signature.sizes, "G"}
        if unknown := sorted({*"".join(signature.shapes.values())} - letters):
            raise UsageError(f"{path}: {name}: expected the letters {', '.join(sorted(letters))}, got {unknown}")
        if signature.cell.gate_names and len(signature.cell.gate_names) != signature.cell.gates:
            raise UsageError(f"{path}: {name}: expected a cell with as many gates as gate_names, got {signature.cell}")
        try:
            _offered([name], exercises)
            exercises.examples(name)
        except Exception as error:  # of any type: the functions are those of the teacher
            raise UsageError(f"{path}: {name} does not fit its reference: {type(error).__name__}: {error}") from error
    modules = (getattr(sys.modules[name], "__file__", None) for name in {*sys.modules} - before)
    files = [Path(file) for file in modules if file and Path(file).resolve().is_relative_to(_folder(path))]
    return replace(exercises, files=[path, *files])


def grade_files(
    paths: Sequence[Path],
    exercises: Exercises,
    points: Mapping[str, float],
    limits: Limits = LIMITS,
    jobs: int = 1,
) -> Iterator[Grade]:
    """Grade files; without `points`, every function of a file and the other one of its pair has one point.

    All files are read before the first one is executed. A submission may not use the others, and what is beside them.
    At most `jobs` are graded at a time.

    Raises: UsageError for a single file that cannot be read.
    """
    submissions, seen = list[tuple[Submission, str]](), set[Path]()
    for path in paths:
        submission, problem, place = Submission(path, b""), "", _folder(path) / path.name
        try:
            submission = read_submission(path, exercises.names)
            problem = f"{path}: is listed twice; list each file once" if place in seen else ""
        except UsageError as error:
            if len(paths) == 1:
                raise
            problem = str(error)
        seen.add(place)
        submissions.append((submission, problem))
    patterns = ("*.py", "*.ipynb", "*/*.py", "*/*.ipynb")
    beside = [file for folder in {_folder(path) for path in paths} for each in patterns for file in folder.glob(each)]
    own = threading.local()

    def grade(each: tuple[Submission, str]) -> Grade:
        submission, problem = each
        if not hasattr(own, "exercises"):  # a check changes the arrays of an example for a moment
            own.exercises = replace(exercises)
        others = [file for file in beside if not file.is_relative_to(_folder(submission.path))]
        return grade_submission(submission, own.exercises, points, limits, [*paths, *others], problem)

    if jobs == 1:
        own.exercises = exercises
        yield from map(grade, submissions)
        return
    pool = ThreadPoolExecutor(jobs)
    try:
        yield from pool.map(grade, submissions)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _folder(path: Path) -> Path:
    return Path(os.path.realpath(path.parent))


def grade_submission(
    submission: Submission,
    exercises: Exercises,
    points: Mapping[str, float],
    limits: Limits = LIMITS,
    closed: Sequence[Path] = (),
    problem: str = "",
) -> Grade:
    """Grade what was read from a file, without use of those that are `closed`, unless it has a problem."""
    student = StudentProcess(submission, exercises.names, limits, [*closed, *exercises.files])
    with contextlib.closing(student):
        return _grade(student, problem, exercises, points)


def _grade(student: StudentProcess, problem: str, exercises: Exercises, points: Mapping[str, float]) -> Grade:
    names, submission = student.names, student.submission
    path = submission.path
    pair_of = {function: name for name in exercises.signatures for function in exercises.pair(name)}
    written = submission.names()
    defined = written.intersection(names)
    # While a file is loaded, it may call captioner's functions; which ones it defines itself is only known afterwards.
    student.offered = _offered({pair_of[name] for name in points or defined}, exercises)
    functions = {} if problem else student.load()
    problem = problem or student.problem
    if not functions and not points:
        expected = f"expected at least one of these functions, got none: {', '.join(names)}"
        problem = problem or f"{path}: {expected}{submission.remark}"
    pairs = {pair_of[name] for name in points or {*functions, *defined}}
    student.offered = _offered(pairs, exercises)
    points = points or {name: 1.0 for name in names if pair_of[name] in pairs}
    others = written.difference(names)
    why = {name: f"the file does not define it{_suggestion(name, others)}{submission.remark}" for name in names}
    why |= dict.fromkeys(defined, "it is no function at the end of the file; does an import from captioner replace it?")
    missing = {name: f"not checked: {problem}" if problem else f"missing: {why[name]}" for name in points}
    results = {name: FunctionResult(name, missing[name], np.inf) for name in points}
    chosen = {name: function for name, function in functions.items() if pair_of[name] in pairs}
    for result in check_functions(chosen, exercises):
        student.next_function()
        results[result.name] = result
    return Grade(path, points, results, problem, student.printed())


def _suggestion(name: str, written: Iterable[str]) -> str:
    """Name the function that is this one in other letters, or with a short form or a misspelling of its name."""
    full = {FORMS.sub(lambda form: FULL[form[1]], other.lower()): other for other in sorted(written)}
    near = similar(name, full, SIMILARITY)
    return f"; is it {full[near[0]]}?" if near else ""


def _offered(required: Iterable[str], exercises: Exercises) -> dict[str, Any]:
    """Return the functions that a submission may take from captioner: those that required ones call.

    None of them may call a required one: an RNN of one step is a step.
    """

    def inner(name: str) -> set[str]:
        return {name}.union(*(inner(used) for used in exercises.signatures[name].uses))

    required = {*required}
    offered = {name for name in set().union(*map(inner, required)) if not inner(name) & required}
    functions = {function for name in offered for function in exercises.pair(name)}
    return {name: exercises.reference[name] for name in functions & exercises.reference.keys()}
