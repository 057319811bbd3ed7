"""captioner album: what it prints, exports, forgets, checks and deletes."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from captioner.captioning.caption import Candidate, Caption
from captioner.photos.album import Album, status_of

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An album of three photographs, of which one is corrected, and two are missing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAPTIONER_ALBUM", "a.db")
    with Album(Path("a.db")) as album:
        for number, name in enumerate(("here/a.jpg", "here/gone.jpg", "drive/b.jpg")):
            photo = Path(name)
            photo.parent.mkdir(exist_ok=True)
            photo.write_text(name)
            caption = Caption("", f"photo {number}", -1.0, [], None, [Candidate("", -1.0)])
            album.locate(photo, bytes([number] * 16), status_of(photo), caption, "m.h5, 0")
        (entry,) = album.entries([Path("here/gone.jpg")])
        album.correct(entry.id, ("my photo", ["me"]), "page")
    os.remove("here/gone.jpg")
    os.rename("drive", "unplugged")


def places() -> list[str]:
    with Album(Path("a.db")) as album:
        return [os.path.relpath(entry.path) for entry in album.entries()]


def test_the_album_tells_what_it_has(cli: Run) -> None:
    assert cli("album").succeeded().out.splitlines() == [
        "album: a.db",
        "files: 3; missing: 2; of corrected photographs: 1",
        "captions of m.h5, 0: 3",
    ]
    assert cli("album", "--check").code == 0
    cli("album", "--album", "no.db").failed(2, "no.db: no album; `captioner caption FOLDER` makes it")
    assert not os.path.exists("no.db")


def test_all_photographs_are_exported_and_corrections_are_read_first(cli: Run) -> None:
    done = cli("album", "--export", "t.csv")
    assert done.err == "t.csv: 3 photographs, 2 of them missing (captioner album --forget-missing)\n"
    assert done.out.splitlines()[-1] == f"table: {Path.cwd()}/t.csv"
    cli("album", "--export", "x.pdf").failed(2, "x.pdf: expected a name that ends in .csv or .html, or xmp, ")
    text = Path("t.csv").read_text()
    Path("t.csv").write_text(text.replace('"photo 0"', '"her photo"', 1))
    done = cli("album", "--export", "p.html")
    assert done.err.splitlines()[0] == f"{Path.cwd()}/t.csv: 1 correction"
    assert "of corrected photographs: 2" in done.out
    Path("t.csv").write_bytes(b"\xff\xfe damaged")
    done = cli("album", "--export", "u.csv")
    assert done.code == 0
    assert "t.csv: " in done.err.splitlines()[0]
    assert done.err.splitlines()[0].endswith("its corrections are not read")
    assert cli("album", "--export", "/sys/t.csv").code == 1


def test_missing_photographs_are_forgotten_and_their_corrections_come_back(cli: Run) -> None:
    cli("album", "--forget-missing", "drive", "-y").failed(
        2, "drive: expected a folder, got nothing; is its drive mount"
    )
    assert "missing: 1;" in cli("album", "--forget-missing", "here", "-y").out
    assert places() == ["drive/b.jpg", "here/a.jpg"]
    Path("back.jpg").write_text("here/gone.jpg")
    with Album(Path("a.db")) as album:
        album.locate(Path("back.jpg"), bytes([1] * 16), status_of(Path("back.jpg")))
        (entry,) = album.entries([Path("back.jpg")])
        assert entry.caption.text == "my photo"


def test_what_cannot_be_undone_is_asked(shell: Run, cli: Run) -> None:
    for words, question in (
        (["--forget-missing", "here"], "forget the places of 1 photograph, such as "),
        (["--delete"], "delete a.db with 1 correction?"),
    ):
        done = shell("album", *words, input="n\n")
        assert (done.returncode, question in done.stderr) == (1, True)
    assert len(places()) == 3
    assert cli("album", "--delete", "-y").code == 0
    assert not os.path.exists("a.db")


def test_a_damaged_album_is_one_line(cli: Run) -> None:
    with closing(sqlite3.connect("a.db")) as database, database:
        database.execute("UPDATE caption SET record = '{}' WHERE id = 1")
    cli("album").failed(1, "a caption of the album is damaged: KeyError(")
    Path("a.db").write_bytes(Path("a.db").read_bytes()[:6000])
    for words in (["album", "--check"], ["search", "dog"], ["caption", "here/a.jpg", "--album", "a.db"]):
        done = cli(*words)
        assert done.code == 1
        assert "malformed; restore it from a backup\n" in done.err
        assert done.err.count("\n") == 1
