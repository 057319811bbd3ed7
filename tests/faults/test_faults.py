"""Damaged files, kills and a full disk at a small size: no fault escapes, and planted ones are detected."""

from pathlib import Path

import pytest

from faults import damaged, interrupted
from faults.interrupted import Command, Ended
from faults.session import Session


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    rows = list(damaged.measure(Session(tmp_path, share=0.01)))
    assert [row["trials"] for row in rows] == [20, 10]
    assert [row["notes"] for row in rows] == [[], []]


PROGRAMS = "train", "caption", "export"
"""Those that are killed while they write a checkpoint, an album and tables, and a model; `make faults` runs all."""


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Command, Ended]]:
    ends = interrupted.commands(tmp_path_factory.mktemp("inputs"), PROGRAMS)
    return {command.name: (command, ended) for command, ended in ends.items()}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_command_completes_after_a_kill_and_without_space(
    name: str, ends: dict[str, tuple[Command, Ended]], tmp_path: Path
) -> None:
    command, ended = ends[name]
    outcomes = [
        interrupted.kill([(command, ended.uses // 2)], tmp_path / "killed", 0),
        interrupted.limit_file_size([(command, 1)], tmp_path / "limited", 0),
    ]
    assert {outcome.kind for outcome in outcomes} == {"completed"}, outcomes


FAULTS = {
    "train": """
from captioner.training import resume
state = resume.TrainState
def without_slots(params, slots, step):
    return state(params, {slot: {name: 0 * w for name, w in arrays.items()} for slot, arrays in slots.items()}, step)
resume.TrainState = without_slots
""",
    "caption": """
from captioner.photos.album import Album
flush = Album.flush
Album.flush = lambda album: (album._new.__delitem__(slice(1)), flush(album))[1]
""",
}
"""Training that continues without its optimizer state, and an album that loses a photograph."""


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_a_program_is_detected(
    name: str, ends: dict[str, tuple[Command, Ended]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, ended = ends[name]
    monkeypatch.setattr(interrupted, "KILLED", FAULTS[name] + interrupted.KILLED)
    outcome = interrupted.kill([(command, ended.uses // 2)], tmp_path, 0)
    assert (outcome.kind, "exit code" in outcome.note) == ("wrong", False), outcome


def test_a_kill_that_does_not_happen_is_detected(ends: dict[str, tuple[Command, Ended]], tmp_path: Path) -> None:
    outcome = interrupted.kill([(ends["export"][0], interrupted.NEVER)], tmp_path, 0)
    assert (outcome.kind, "killed at use" in outcome.note) == ("wrong", True)
