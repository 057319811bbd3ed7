"""The progress of a run in another process: its state, speed and remaining time, and how times are written."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from captioner.report.run_watch import (
    ENDINGS,
    LOCKS,
    QUIET,
    WINDOW,
    Kind,
    Pace,
    RunWatch,
    clock,
    duration,
    lock_is_listed,
)
from captioner.training.run_folder import RunFolder

needs_locks = pytest.mark.skipif(not LOCKS.exists(), reason="the platform does not list locks")
HOLD = """
import sys
from pathlib import Path
from captioner.training.run_folder import FolderLock
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


@needs_locks
def test_a_lock_of_another_process_is_seen(own_run: Path, tmp_path: Path) -> None:
    assert not lock_is_listed(own_run)
    with training_in(own_run):
        assert lock_is_listed(own_run)
        assert not lock_is_listed(tmp_path)
        assert not lock_is_listed(tmp_path / "none")
    assert not lock_is_listed(own_run)


@pytest.mark.parametrize("reason", [*ENDINGS, "another"])
def test_the_end_of_a_run_is_named(reason: str, own_run: Path) -> None:
    summary = own_run / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"ended": reason}))
    state = RunWatch(own_run).look()
    resume = f"captioner train --resume {own_run}"
    assert (state.kind, state.text) == (Kind.ENDED, ENDINGS.get(reason, "training has ended").format(resume=resume))
    assert state.changed == (own_run / "history.jsonl").stat().st_mtime_ns / 1e9  # st_mtime may be rounded otherwise


@pytest.mark.parametrize("content", ["", "[1]", '{"ended": ', '{"ended": {}}', "\xff", "[" * 100_000])
def test_a_damaged_summary_is_an_unknown_end(content: str, own_run: Path) -> None:
    (own_run / "summary.json").write_text(content, encoding="latin-1")
    assert RunWatch(own_run).look()[:2] == (Kind.ENDED, "training has ended")


@needs_locks
def test_a_resumed_run_is_running_until_it_is_killed(own_run: Path) -> None:
    watch = RunWatch(own_run)
    assert watch.look().kind is Kind.ENDED
    with training_in(own_run):
        assert watch.look().kind is Kind.RUNNING, "resumed, and nothing is recorded yet"
        RunFolder(own_run).log({"kind": "step", "step": 99})
    state = watch.look()
    assert state.kind is Kind.LOST
    assert state.text.endswith(f"; continue with captioner train --resume {own_run}")
    (own_run / "last.h5").unlink()
    assert watch.look().text.endswith("; it has no checkpoint to resume from")


def test_without_a_listed_lock_the_last_change_and_the_folder_count(own_run: Path) -> None:
    (own_run / "summary.json").unlink()
    for age, kind in ((-1, Kind.RUNNING), (QUIET + 3600, Kind.LOST)):
        for file in own_run.iterdir():
            os.utime(file, (time.time() - age,) * 2)
        assert RunWatch(own_run).look().kind is kind
    for file in own_run.iterdir():
        if file.name != "config.yaml":
            file.unlink()
    os.utime(own_run / "config.yaml")
    assert RunWatch(own_run).look() == (Kind.RUNNING, "training", 0.0), "it has just begun"
    (own_run / "config.yaml").unlink()
    assert RunWatch(own_run).look().kind is Kind.WAITING
    own_run.rmdir()
    assert RunWatch(own_run).look().kind is Kind.MISSING


def test_the_remaining_time_follows_the_recorded_steps() -> None:
    pace = Pace()
    assert pace.remaining(100, 1000.0) is None
    pace.observe(1000.0, 10)
    assert (pace.remaining(100, 1000.0), pace.steps_per_second) == (None, None)
    pace.observe(1005.0, 20)
    assert (pace.remaining(100, 1005.0), pace.steps_per_second) == (40.0, 2.0)
    assert pace.remaining(100, 1015.0) == 30.0, "it passes between records"
    assert pace.remaining(100, 9999.0) == 0.0
    pace.observe(1010.0, 20)  # a validation
    assert pace.remaining(100, 1010.0) == 80.0, "with the pause"
    pace.observe(1012.0, 24)
    assert pace.steps_per_second == 2.0, "without the pause"


@pytest.mark.parametrize(("step", "session"), [(40, "second"), (5, "first")])
def test_a_break_is_no_pause(step: int, session: str) -> None:
    pace = Pace()
    pace.observe(1000.0, 10, "first")
    pace.observe(1010.0, 20, "first")
    pace.observe(5000.0, step, session)
    assert (pace.remaining(100, 5000.0), pace.steps_per_second) == (None, None)
    pace.observe(5001.0, step + 1, session)
    assert (pace.remaining(step + 11, 5001.0), pace.steps_per_second) == (10.0, 1.0)


def test_the_pace_of_long_ago_is_forgotten() -> None:
    pace = Pace()
    for step in range(WINDOW):
        pace.observe(100.0 * step, step)
    start = 100.0 * WINDOW
    for step in range(WINDOW):
        pace.observe(start + step, WINDOW + step)
        pace.observe(start + step, WINDOW + step)
    assert pace.remaining(2 * WINDOW, start + WINDOW - 1) == 1.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (3600, "1 h 0 min"),
        (86399, "23 h 59 min"), (90000, "1 d 1 h"), (8640000, "100 d 0 h"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_time_of_another_day_has_its_date() -> None:
    noon = time.mktime((2026, 3, 5, 12, 7, 0, 0, 0, -1))
    assert clock(noon, noon + 60) == "12:07"
    assert clock(noon, noon + 86400) == "2026-03-05 12:07"
