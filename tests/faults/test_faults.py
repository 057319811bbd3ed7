"""Every part of the fault suite at a small size: no fault escapes."""

from pathlib import Path

import numpy as np
import pytest

from faults import damaged, disks, repeated, signals
from faults.session import Session
from faults.watch import ESCAPED


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    rows = list(damaged.measure(Session(tmp_path, share=0.005)))
    assert [row["trials"] for row in rows] == [50, 25]
    assert [row["escaped"] for row in rows] == [0, 0], rows


def test_killed_and_stopped_runs_resume_bit_identical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "PROMPT", 60.0)  # the real bound is for `make faults` on an idle machine
    rng = np.random.default_rng(0)
    expected = signals.uninterrupted(tmp_path / "uninterrupted", signals.STEPS)
    outcomes = signals.kill_and_resume(tmp_path / "killed", expected, rng)
    assert {outcome.kind for outcome in outcomes} <= {"resumed bit-identical"}
    expected = signals.uninterrupted(tmp_path / "again", signals.STOP_STEPS, signals.SELDOM)
    for outcome in (
        signals.stop_and_resume(tmp_path / "stopped", expected, rng),
        signals.stop_at_the_end(tmp_path / "e", rng),
    ):
        assert outcome.kind not in ESCAPED, outcome


@pytest.mark.parametrize("name", [name for name, case in disks.CASES.items() if case is not disks.full_disk])
def test_disk_failure_is_reported_in_one_line(name: str, tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == 0 and folder != Path("/tmp"):
            folder.chmod(0o755)  # an unprivileged user must be able to reach the run folder
    outcome = disks.CASES[name](tmp_path / "run", np.random.default_rng(1))
    assert outcome.kind == "reported, checkpoint valid", outcome


@pytest.mark.parametrize("name", ["prepare", "prepare --features"])
def test_a_command_killed_before_its_last_use_of_a_file_completes(name: str, tmp_path: Path) -> None:
    inputs = repeated.make_inputs(tmp_path)
    completed = repeated.complete(name, tmp_path / "completed", inputs)
    assert list(completed.files) == ["out.h5"]
    outcome = repeated.kill_and_complete(name, completed.uses, tmp_path / "killed", inputs, completed)
    assert outcome.kind == "completed", outcome


@pytest.mark.parametrize("pair", [("attention", "mpi"), ("SCST", "EMA")], ids=" and ".join)
def test_a_killed_training_ends_bit_identical_when_repeated(
    pair: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated, "RUNS", 1)
    starts = repeated.make_starts(tmp_path / "starts")
    outcomes = repeated.kill_and_repeat(pair, tmp_path, starts, np.random.default_rng(3))
    assert [outcome.kind for outcome in outcomes] == ["bit-identical"], outcomes
