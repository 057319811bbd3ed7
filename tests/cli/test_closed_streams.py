"""Commands with a closed stdin, stdout or stderr work, or fail with one line; no file is damaged."""

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
def _here(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_run.parent)


CLOSE = "import os, sys; os.close({}); os.execv(sys.executable, [sys.executable, '-m', 'captioner', *sys.argv[1:]])"


def run_closed(closed: int, *args: object) -> subprocess.CompletedProcess[str]:
    """Run a command with one closed standard stream."""
    command = [sys.executable, "-c", CLOSE.format(closed), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def run_open(args: tuple[object, ...]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "captioner", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


READING: tuple[tuple[str, ...], ...] = (
    ("sample", "run"),
    ("sample", "run", "--json"),
    ("config", "show"),
    ("--help",),
)
"""One command per function that prints results."""


@pytest.mark.parametrize("args", READING, ids=" ".join)
def test_a_closed_stdin_or_stderr_does_not_change_results(args: tuple[str, ...]) -> None:
    expected = run_open(args)
    assert expected.returncode == 0
    for closed in (0, 2):
        done = run_closed(closed, *args)
        assert (done.returncode, done.stdout) == (0, expected.stdout)


@pytest.mark.parametrize("args", READING, ids=" ".join)
def test_a_closed_stdout_is_an_error_of_one_line(args: tuple[str, ...]) -> None:
    done = run_closed(1, *args)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "captioner: output: Bad file descriptor"
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def expected(album: Callable[..., Path], small_options: tuple[str, ...], tmp_path_factory: Any) -> Path:
    """A folder with the run `run` and the data set `set.h5` that commands with open streams write."""
    home: Path = tmp_path_factory.mktemp("open")
    table = album(home / "photos")
    for args in (
        ("train", *small_options, *WHOLE, "--run", home / "run"),
        ("prepare", table, "--encoder", "scenes", "--min-count", "1", "--output", home / "set.h5"),
    ):
        assert run_open(args).returncode == 0
    return home


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_train_finishes(closed: int, expected: Path, small_options: tuple[str, ...]) -> None:
    """A file opened later must not get the descriptor of a standard stream: printed text would go to it."""
    done = run_closed(closed, "train", *small_options, *WHOLE, "--run", "run", "--overwrite")
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads(Path("run/summary.json").read_text())["ended"] == "done"
    assert not Path("run/before").exists()
    assert Path("run", LAST).read_bytes() == Path(expected, "run", LAST).read_bytes()
    steps = [json.loads(line)["step"] for line in Path("run/history.jsonl").read_text().splitlines()]
    assert steps[-1] == 3


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_prepare_writes_the_data_set(closed: int, expected: Path) -> None:
    table = expected / "photos" / "captions.csv"
    done = run_closed(closed, "prepare", table, "--encoder", "scenes", "--min-count", "1", "--output", "set.h5")
    assert Path("set.h5").read_bytes() == Path(expected, "set.h5").read_bytes()
    assert not Path("set.h5.part").exists()
    if closed == 1:  # the data set is complete, printing the summary fails
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == "captioner: output: Bad file descriptor"
    else:
        assert done.returncode == 0
        assert done.stdout.startswith("set.h5\n")


def test_names_from_a_closed_stdin_are_an_error() -> None:
    done = run_closed(0, "sample", "run", "-", "--encoder", "scenes")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("captioner: -: expected names of photographs on stdin, one per line, but stdin is closed\n")


def test_an_unreadable_stdin_is_an_error(shell: Callable[..., Any]) -> None:
    with open("/proc/self/mem", "rb") as broken:
        done = shell("sample", "run", "-", "--encoder", "scenes", stdin=broken)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "captioner: -: cannot read stdin: Input/output error\n"


def test_train_finishes_with_all_streams_closed(small_options: tuple[str, ...]) -> None:
    close_all = (
        "import os, sys\nfor number in (0, 1, 2): os.close(number)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'captioner', *sys.argv[1:]])"
    )
    args = ("train", *small_options, *WHOLE, "--run", "new")
    done = subprocess.run([sys.executable, "-c", close_all, *args], timeout=120)
    assert done.returncode == 0
    assert json.loads(Path("new/summary.json").read_text())["ended"] == "done"
    assert {file.name for file in Path("new").iterdir()} == {file.name for file in Path("run").iterdir()}
