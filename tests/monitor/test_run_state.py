"""The state of a run, by its files and by the lock that its training holds."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from captioner.monitor.activity import LOCKS, QUIET, Activity, is_locked
from captioner.monitor.run_state import DAMAGED_END, ENDINGS, Kind, find_state
from captioner.training.run_folder import RunFolder

needs_locks = pytest.mark.skipif(not LOCKS.exists(), reason="the platform does not list locks")
HOLD = """
import sys
from pathlib import Path
from captioner.training.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def training_in(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder in another process, as training does."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "locked\n"
        yield
        process.stdin.close()
        assert process.wait(60) == 0


def make_old(run: Path, seconds: float) -> None:
    """Make the files of a run older."""
    for file in run.iterdir():
        status = file.stat()
        os.utime(file, (status.st_atime - seconds, status.st_mtime - seconds))


@needs_locks
def test_a_lock_of_another_process_is_seen(own_run: Path, tmp_path: Path) -> None:
    assert not is_locked(own_run)
    with training_in(own_run):
        assert is_locked(own_run)
        assert not is_locked(tmp_path)
        assert not is_locked(tmp_path / "none")
    assert not is_locked(own_run)


def test_a_hidden_lock_is_replaced_by_the_time_of_the_last_change(tmp_path: Path) -> None:
    now = time.time()
    assert Activity().is_training(tmp_path, now, has_ended=False)
    assert not Activity().is_training(tmp_path, now, has_ended=True)
    assert not Activity().is_training(tmp_path, now - QUIET - 1, has_ended=False)


@needs_locks
def test_a_lock_that_was_seen_once_is_believed(tmp_path: Path) -> None:
    activity = Activity()
    with training_in(tmp_path):
        assert activity.is_training(tmp_path, 0, has_ended=True), "resumed, and nothing is recorded yet"
    assert not activity.is_training(tmp_path, time.time(), has_ended=False)


@pytest.mark.parametrize("reason", [*ENDINGS, "another"])
def test_the_end_of_a_run_is_named(reason: str, own_run: Path) -> None:
    summary = own_run / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"ended": reason}))
    state = find_state(own_run, Activity())
    resume = f"captioner train --resume {own_run}"
    assert (state.kind, state.text) == (Kind.ENDED, ENDINGS.get(reason, "Training has ended.").format(resume=resume))
    assert state.changed == (own_run / "history.jsonl").stat().st_mtime_ns / 1e9  # st_mtime may be rounded otherwise


@pytest.mark.parametrize("content", ["", "[1]", '{"ended": ', '{"ended": {}}', "\xff", "[" * 100_000])
def test_a_damaged_summary_is_an_unknown_end(content: str, own_run: Path) -> None:
    (own_run / "summary.json").write_text(content, encoding="latin-1")
    assert find_state(own_run, Activity())[:2] == (Kind.ENDED, DAMAGED_END)


@needs_locks
def test_a_resumed_run_is_running_until_it_is_killed(own_run: Path) -> None:
    activity = Activity()
    assert find_state(own_run, activity).kind is Kind.ENDED
    with training_in(own_run):
        assert find_state(own_run, activity).kind is Kind.RUNNING
        RunFolder(own_run).log({"kind": "step", "step": 99})
    state = find_state(own_run, activity)
    assert state.kind is Kind.LOST
    assert state.text.endswith(f"; continue with captioner train --resume {own_run}")
    (own_run / "last.h5").unlink()
    assert find_state(own_run, activity).text.endswith("; it has no checkpoint to resume from")


def test_a_run_without_a_summary_is_lost_after_a_while(own_run: Path) -> None:
    (own_run / "summary.json").unlink()
    make_old(own_run, -1)
    assert find_state(own_run, Activity()).kind is Kind.RUNNING
    make_old(own_run, QUIET + 3600)
    assert find_state(own_run, Activity()).kind is Kind.LOST


def test_a_run_that_has_just_begun_is_waited_for(own_run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert find_state(tmp_path / "empty", Activity()).kind is Kind.WAITING
    for file in own_run.iterdir():
        if file.name != "config.yaml":
            file.unlink()
    os.utime(own_run / "config.yaml")
    assert find_state(own_run, Activity())[:2] == (Kind.WAITING, "Training has begun: no step is recorded yet.")


def test_a_deleted_folder_is_missing(own_run: Path) -> None:
    shutil.rmtree(own_run)
    assert find_state(own_run, Activity())[:2] == (
        Kind.MISSING, f"{own_run}: folder not found; it was moved or deleted.",
    )  # fmt: skip
