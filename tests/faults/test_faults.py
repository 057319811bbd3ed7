"""Every part of the fault suite at a small size: no fault escapes."""

from pathlib import Path

import pytest

from faults import damaged, interrupted
from faults.interrupted import COMMANDS, Command, Ended
from faults.session import Session


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    rows = list(damaged.measure(Session(tmp_path, share=0.025)))
    assert [row["trials"] for row in rows] == [50, 25]
    assert [row["notes"] for row in rows] == [[], []]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[Command, Ended]:
    return interrupted.commands(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_completes_after_a_kill_and_without_space(
    name: str, ends: dict[Command, Ended], tmp_path: Path
) -> None:
    ((command, count),) = ((command, ended.uses) for command, ended in ends.items() if command.name == name)
    outcomes = [interrupted.kill([(command, use)], tmp_path / f"use-{use}", 0) for use in {count // 2, count}]
    outcomes.append(interrupted.limit_file_size([(command, 1)], tmp_path / "limited", 0))
    assert {outcome.kind for outcome in outcomes} == {"completed"}, outcomes


def test_albums_are_complete_after_kills_at_random_moments(ends: dict[Command, Ended], tmp_path: Path) -> None:
    row = interrupted.strikes(ends, Session(tmp_path, share=0.1))
    assert (row["trials"], row["notes"]) == (40, [])
    assert row["ended"]["completed"] > 10, "others ended before"


FORGETFUL = """
from captioner.photos.album import Album
flush = Album.flush
Album.flush = lambda album: (album._new.__delitem__(slice(1)), flush(album))[1]
"""


def test_a_photograph_that_is_lost_is_detected(
    ends: dict[Command, Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((command, uses),) = ((command, ended.uses) for command, ended in ends.items() if command.name == "caption")
    monkeypatch.setattr(interrupted, "KILLED", FORGETFUL + interrupted.KILLED)
    outcome = interrupted.kill([(command, uses)], tmp_path, 0)
    assert outcome.kind == "wrong"
