"""Every part of the fault suite at a small size: no fault escapes."""

from pathlib import Path

import numpy as np
import pytest

import faults.__main__ as program
from faults import disks, signals
from faults.session import Session
from faults.watch import ESCAPED, Outcome

IN_PROCESS = (
    "sealed",
    "resealed",
    "users",
    "texts",
    "captions",
    "tensors",
    "models",
    "photographs",
    "numbers",
    "resumed",
)
"""Parts that start no command-line subprocess."""


@pytest.mark.parametrize("part", IN_PROCESS)
def test_no_fault_escapes(part: str, session: Session) -> None:
    rows = [found for found in program.PARTS[part](session) if "fault" in found]
    assert rows
    for found in rows:
        assert found["trials"] > 0
        assert found["escaped"] == 0, found["notes"]


def test_killed_and_stopped_runs_resume_bit_identical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "PROMPT", 60.0)  # the real bound is for `make faults` on an idle machine
    rng = np.random.default_rng(0)
    expected = signals.uninterrupted(tmp_path / "uninterrupted", signals.STEPS)
    assert {outcome.kind for outcome in signals.one_run(tmp_path / "killed", expected, rng)} <= {
        "resumed bit-identical"
    }
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


def test_backwards_clock_does_not_change_the_result(tmp_path: Path) -> None:
    expected = disks.uninterrupted(tmp_path / "uninterrupted", 12)
    assert disks.backwards(tmp_path / "back", expected) == Outcome("bit-identical")


def test_file_system_without_locks_does_not_change_the_result(tmp_path: Path) -> None:
    expected = disks.uninterrupted(tmp_path / "uninterrupted", 12)
    assert disks.without_locks(tmp_path / "unlocked", expected) == Outcome("one warning, bit-identical")


@pytest.mark.parametrize("how", disks.REPLACEMENTS)
def test_replaced_run_folder_stops_training(how: str, tmp_path: Path) -> None:
    expected = disks.uninterrupted(tmp_path / "uninterrupted", disks.SECOND_STEPS, (*disks.OPTIONS, disks.SECOND))
    outcome = disks.replaced(how, tmp_path / "run", expected, 1, np.random.default_rng(0))
    assert outcome.kind == "stopped, files not mixed", outcome
