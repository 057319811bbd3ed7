"""`captioner monitor` and the training that it follows, as real processes."""

import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T], seconds: float = 120) -> T:
    """Wait until a condition holds, and return its value; a hang is a failure."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


@contextmanager
def process(*words: object) -> Iterator[subprocess.Popen[str]]:
    """Start a command; end it at the end, if it still runs."""
    command = [sys.executable, "-m", "captioner", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


@contextmanager
def training(*words: object) -> Iterator[subprocess.Popen[str]]:
    """Start a training, wait until it has begun, and stop it at the end with Ctrl-C."""
    with process("train", *words) as started:
        assert started.stderr is not None
        lines = [started.stderr.readline() for _ in range(2)]
        assert "steps of" in lines[1], lines
        yield started
        if started.poll() is None:
            stop(started)


def stop(started: subprocess.Popen[str], number: int = signal.SIGINT) -> str:
    """Send a signal, and return what the command then printed to stderr."""
    started.send_signal(number)
    _, printed = started.communicate(timeout=120)
    assert started.returncode == 128 + number
    return printed


@contextmanager
def monitor(run: Path, *words: object) -> Iterator[str]:
    """Monitor a run on a free port, and yield the URL of its page; Ctrl-C ends the command at the end."""
    with process("monitor", run, "--port", 0, *words) as started:
        assert started.stderr is not None
        line = started.stderr.readline()
        match = re.fullmatch(r".*: (http://127\.0\.0\.1:\d+/) \(Ctrl-C to end\)\n", line)
        assert match is not None, line + started.stderr.read()
        yield match[1]
        assert stop(started) == "\ncaptioner: interrupted\n"


def read(url: str) -> str:
    """Read a page."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        return str(answer.read().decode())
