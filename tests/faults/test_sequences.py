"""Sequences of what people and programs do to an album, and album faults that they find."""

import pytest

from captioner.photos.album import Album
from faults import sequences
from faults.sequences import Photographs, settings_of

TestPhotographs = Photographs.TestCase
TestPhotographs.settings = settings_of(25)

FAULTS = {
    "_count_corrections": lambda album, digest=None: None,
    "forget": lambda album, places: album._db.execute("UPDATE photograph SET correction = NULL"),
    "known": lambda album, photo: bool([*album.entries([photo])]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_album_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Album, name, FAULTS[name])
    assert sequences.hold(7, 0).kind == "wrong"
