"""Sequences of what people and programs do to an album, and album faults that they find."""

from pathlib import Path

import pytest

from captioner.photos.album import Album
from faults import sequences
from faults.sequences import Photographs, settings_of
from faults.session import Session

TestPhotographs = Photographs.TestCase
TestPhotographs.settings = settings_of(200)

FAULTS = {
    "_count_corrections": lambda album, digest=None: None,
    "forget": lambda album, places: album._db.execute("UPDATE photograph SET correction = NULL"),
    "known": lambda album, photo: bool([*album.entries([photo])]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_album_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Album, name, FAULTS[name])
    assert [sequences.hold(7, number).kind for number in range(2)] == ["wrong"] * 2


def test_a_trial_of_sequences_holds(tmp_path: Path) -> None:
    (row,) = sequences.measure(Session(tmp_path, share=0.01))
    assert (row["trials"], row["ended"]) == (1, {"equal": 1})
