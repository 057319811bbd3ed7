"""Commands started without stdin, stdout or stderr: they do their work, or say in a line why not; nothing is lost."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.inference.find_checkpoint import LAST

WHOLE = ("-o", "train.max_steps=3")


@pytest.fixture(autouse=True)
def _here(own_run: Path, album: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_run.parent)
    album(Path("photos"))


SHUT = "import os, sys; os.close({}); os.execv(sys.executable, [sys.executable, '-m', 'captioner', *sys.argv[1:]])"


def start(closed: int, *args: object) -> subprocess.CompletedProcess[str]:
    """A command whose parent has closed one of its three streams."""
    command = [sys.executable, "-c", SHUT.format(closed), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def told(args: tuple[object, ...]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "captioner", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


READING: tuple[tuple[str, ...], ...] = (
    ("sample", "run"),
    ("sample", "run", "--json"),
    ("evaluate", "run"),
    ("data", "check", "photos/captions.csv"),
    ("data", "card", "scenes", "-o", "data.scenes.train=4"),
    ("config", "show"),
    ("config", "init"),
    ("inspect", "gradients", "run", "--words", "2"),
    ("--help",),
    ("--version",),
)
"""Commands whose results go to stdout."""


@pytest.mark.parametrize("args", READING, ids=" ".join)
def test_without_stdin_or_stderr_results_are_the_same(args: tuple[str, ...]) -> None:
    expected = told(args)
    assert expected.returncode == 0
    for closed in (0, 2):
        done = start(closed, *args)
        assert (done.returncode, done.stdout) == (0, expected.stdout)


@pytest.mark.parametrize("args", READING, ids=" ".join)
def test_without_stdout_a_command_that_prints_fails_in_a_line(args: tuple[str, ...]) -> None:
    done = start(1, *args)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "captioner: output: Bad file descriptor"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_train_runs_to_its_end(closed: int, small_options: tuple[str, ...]) -> None:
    """Whatever opens files after the start must not get the number of a stream: they would hold what is printed."""
    done = start(closed, "train", *small_options, *WHOLE, "--run", "run", "--overwrite")
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads(Path("run/summary.json").read_text())["ended"] == "done"
    assert not Path("run/before").exists()
    expected = told(("train", *small_options, *WHOLE, "--run", "other"))
    assert expected.returncode == 0
    assert Path("run", LAST).read_bytes() == Path("other", LAST).read_bytes()
    steps = [json.loads(line)["step"] for line in Path("run/history.jsonl").read_text().splitlines()]
    assert steps[-1] == 3
    again = start(closed, "train", "--resume", "run", "-o", "train.max_steps=4")
    assert again.returncode == 0
    assert json.loads(Path("run/summary.json").read_text())["steps"] == 4


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_prepare_writes_its_file(closed: int) -> None:
    args = ("prepare", "photos/captions.csv", "--encoder", "scenes", "--min-count", "1")
    expected = told((*args, "-o", "other.h5"))
    assert expected.returncode == 0
    done = start(closed, *args, "-o", "set.h5")
    assert Path("set.h5").read_bytes() == Path("other.h5").read_bytes()
    assert not Path("set.h5.part").exists()
    if closed == 1:  # the data set is whole, its card cannot be printed
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == "captioner: output: Bad file descriptor"
    else:
        assert (done.returncode, done.stdout) == (0, expected.stdout.replace("other.h5", "set.h5"))


def test_photographs_cannot_be_named_on_a_closed_stdin() -> None:
    done = start(0, "sample", "run", "-", "--encoder", "scenes")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("captioner: -: expected names of photographs on stdin, one a line, but stdin is closed\n")


def test_a_stdin_that_cannot_be_read_is_told(shell: Callable[..., Any]) -> None:
    with open("/proc/self/mem", "rb") as broken:
        done = shell("sample", "run", "-", "--encoder", "scenes", stdin=broken)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "captioner: -: stdin cannot be read: Input/output error\n"


def test_all_three_closed_at_once(small_options: tuple[str, ...]) -> None:
    shut = (
        "import os, sys\nfor number in (0, 1, 2): os.close(number)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'captioner', *sys.argv[1:]])"
    )
    args = ("train", *small_options, *WHOLE, "--run", "new")
    done = subprocess.run([sys.executable, "-c", shut, *args], timeout=120)
    assert done.returncode == 0
    assert json.loads(Path("new/summary.json").read_text())["ended"] == "done"
    assert {file.name for file in Path("new").iterdir()} == {file.name for file in Path("run").iterdir()}
