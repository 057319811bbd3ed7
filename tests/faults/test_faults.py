"""Every part of the fault suite at a small size: no fault escapes."""

from pathlib import Path

import numpy as np
import pytest

import faults.__main__ as program
from faults import disks, signals
from faults.session import Session
from faults.watch import ESCAPED, Outcome

IN_PROCESS = ("sealed", "resealed", "users", "texts", "models")
"""Parts that start no command-line subprocess."""


@pytest.mark.parametrize("part", IN_PROCESS)
def test_no_fault_escapes(part: str, session: Session) -> None:
    rows = [row for row in program.PARTS[part](session) if "fault" in row]
    assert rows
    for row in rows:
        assert row["trials"] > 0
        assert row["escaped"] == 0, row["notes"]


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


def test_a_backwards_clock_and_missing_locks_do_not_change_the_result(tmp_path: Path) -> None:
    expected = disks.uninterrupted(tmp_path / "uninterrupted", 12)
    assert disks.backwards(tmp_path / "back", expected) == Outcome("bit-identical")
    assert disks.without_locks(tmp_path / "unlocked", expected) == Outcome("one warning, bit-identical")


@pytest.mark.parametrize("how", disks.REPLACEMENTS)
def test_replaced_run_folder_stops_training(how: str, tmp_path: Path) -> None:
    expected = disks.uninterrupted(tmp_path / "uninterrupted", disks.SECOND_STEPS, (*disks.OPTIONS, disks.SECOND))
    outcome = disks.replaced(how, tmp_path / "run", expected, 1, np.random.default_rng(0))
    assert outcome.kind == "stopped, files not mixed", outcome


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> signals.Inputs:
    return signals.make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize(
    ("name", "use"), [("prepare", 7), ("prepare --features", 5)], ids=["before features are removed", "before renaming"]
)
def test_a_killed_command_completes_when_repeated(name: str, use: int, inputs: signals.Inputs, tmp_path: Path) -> None:
    expected = signals.files_of_completed(name, tmp_path / "expected", inputs)
    assert list(expected) == ["out.h5"]
    outcome = signals.kill_and_repeat(name, use, tmp_path / "killed", inputs, expected)
    assert outcome.kind == "completed", outcome


def test_a_file_that_is_left_is_detected(
    inputs: signals.Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {"out.h5": b"another data set"}
    outcome = signals.kill_and_repeat("prepare --features", 1, tmp_path / "killed", inputs, expected)
    assert (outcome.kind, "differs: ['out.h5']" in outcome.note) == ("wrong", True)
    monkeypatch.setattr(signals, "KILLED", "import sys; sys.exit(1)")
    assert signals.kill_and_repeat("prepare", 1, tmp_path / "ended", inputs, expected).kind == "wrong"
