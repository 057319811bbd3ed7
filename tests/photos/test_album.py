"""The album as a database: what is known of a photograph, wherever it is, and files that are no album."""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from hashlib import blake2b
from pathlib import Path

import pytest

from captioner.captioning.caption import Attention, Candidate, Caption, from_record, to_record
from captioner.decode.word_regression import Keyword
from captioner.errors import CaptionerError, UsageError
from captioner.photos.album import Album, default_path, status_of


@pytest.fixture
def album(tmp_path: Path) -> Iterator[Album]:
    with Album(tmp_path / "data" / "a.db") as opened:
        yield opened


def photo(path: Path, picture: str = "") -> Path:
    """A file as a photograph: an album decodes none. Its content is the picture, then metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{picture or path.name}|metadata")
    return path


def digest_of(path: Path) -> bytes:
    return blake2b(path.read_bytes().partition(b"|")[0], digest_size=16).digest()


def caption(album: Album, path: Path, text: str = "a dog", model: str = "m") -> None:
    """Caption a photograph if the album lacks its picture, as the command does."""
    if not album.known(path):
        digest = digest_of(path)
        keywords = [Keyword("dog", 0.9), Keyword("snow", 0.3)]
        new = Caption(
            str(path), text, -1.5, [], None, [Candidate(text, -1.5)], similarity=0.5, marks=["uncertain"],
            keywords=keywords, shares=[*keywords, Keyword("a", 0.1)], digest=digest.hex(),
        )  # fmt: skip
        is_new = digest not in album.digests()
        album.locate(path, digest, status_of(path), new if is_new else None, model)
        album.flush()


def texts(album: Album) -> dict[str, str]:
    return {entry.path.name: entry.caption.text for entry in album.entries()}


def test_a_caption_and_a_correction_follow_the_picture(album: Album, tmp_path: Path) -> None:
    first = photo(tmp_path / "x" / "a.jpg")
    caption(album, first)
    (entry,) = album.entries([first])
    album.correct(entry.id, ("my dog", ["pug", "dog"]), "page")
    (tmp_path / "x").rename(tmp_path / "y")
    renamed = tmp_path / "y" / "a.jpg"
    assert album.known(renamed), "by the number of its file"
    assert [(each.path, each.caption.text) for each in album.entries()] == [(renamed, "my dog")]
    copy = tmp_path / "z.jpg"
    copy.write_text("a.jpg|other metadata")
    assert not album.known(copy)
    caption(album, copy, "another text")
    assert texts(album) == {"a.jpg": "my dog", "z.jpg": "my dog"}
    copy.write_text("edited|")
    caption(album, copy, "another picture")
    assert texts(album) == {"a.jpg": "my dog", "z.jpg": "another picture"}


def test_a_file_that_was_replaced_is_not_known(album: Album, tmp_path: Path) -> None:
    first = photo(tmp_path / "a.jpg")
    caption(album, first)
    time = first.stat().st_mtime_ns
    other = photo(tmp_path / "b.jpg")
    os.utime(other, ns=(time, time))
    os.replace(other, first)
    assert not album.known(first), "of equal size and time, but another file"
    first.unlink()
    with pytest.raises(CaptionerError, match=r"a\.jpg: No such file"):
        album.known(first)


def test_a_corrected_caption_is_certain_and_the_history_stays(album: Album, tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg")
    caption(album, path)
    for text, words in (("first", ["dog"]), ("second", ["cat"])):
        (entry,) = album.entries()
        album.correct(entry.id, (text, words), "t.csv")
    (entry,) = album.find(entry.id)
    assert (entry.caption.text, entry.caption.keywords, entry.caption.marks) == ("second", [Keyword("cat", 1.0)], ())
    assert (entry.generated.text, entry.generated.marks) == ("a dog", ["uncertain"])
    corrections, generated = album.history(entry.id)
    assert [each.description for each in corrections] == [("first", ["dog"]), ("second", ["cat"])]
    assert generated == [("a dog", ["dog", "snow"])]
    assert album.find("p" + 32 * "0") == album.find("no id") == []
    with pytest.raises(UsageError, match="no id: no photograph of the album"):
        album.correct("no id", ("a dog", []), "page")
    assert album.corrections() == {os.fsencode(path): ("second", ["cat"])}


def test_a_model_writes_one_caption_and_the_last_one_counts(album: Album, tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg")
    for model, text in ("m", "one"), ("n", "two"), ("m", "one"), ("m", "one"):
        new = Caption("", text, -1.0, [], None, [Candidate(text, -1.0)])
        album.locate(path, digest_of(path), status_of(path), new, model)
        (entry,) = album.entries()
        assert (entry.generated.text, entry.model) == (text, model)
    assert [text for text, _ in album.history(entry.id)[1]] == ["one", "two"]


def test_captions_are_written_at_the_end_and_each_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, first = tmp_path / "a.db", photo(tmp_path / "a.jpg")
    seconds = 0.0
    monkeypatch.setattr("captioner.photos.album.time.monotonic", lambda: seconds)

    def written() -> int:
        with closing(sqlite3.connect(path)) as database, database:
            return int(database.execute("SELECT count(*) FROM place").fetchone()[0])

    with Album(path) as album:
        for number, expected in enumerate((0, 2, 2)):
            seconds += 0.6
            place = photo(tmp_path / f"{number}.jpg", "a.jpg")
            album.locate(place, digest_of(first), status_of(place))
            assert written() == expected
        album.locate(first, digest_of(first), status_of(first))
        assert written() == 2
    assert written() == 4


def test_albums_of_parts_are_joined(album: Album, tmp_path: Path) -> None:
    caption(album, photo(tmp_path / "a.jpg"))
    with Album(tmp_path / "other.db") as other:
        for name in ("b.jpg", "a.jpg"):
            caption(other, photo(tmp_path / name), "of the other")
        for entry in [*other.entries()]:
            other.correct(entry.id, (f"my {entry.path.stem}", []), "page")
        for _ in range(2):
            album.merge(other)
    assert texts(album) == {"a.jpg": "my a", "b.jpg": "my b"}
    assert [entry.generated.text for entry in album.entries()] == ["a dog", "of the other"]
    ((paths, shares),) = album.shares()
    words = {id: word for word, id in album.words().items()}
    row = paths.index(os.fsencode(tmp_path / "b.jpg"))
    assert [words.get(id, "") for id in shares[row]["word"][:4].tolist()] == ["dog", "snow", "a", ""]
    for entry in album.entries():
        assert len(album.history(entry.id)[0]) == 1, "each correction once"
        album.correct(entry.id, None, "page")
    with Album(tmp_path / "other.db") as other:
        album.merge(other)
    assert texts(album) == {"a.jpg": "a dog", "b.jpg": "of the other"}, "what was taken back stays so"


def test_an_album_is_private_and_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAPTIONER_ALBUM")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_path() == tmp_path / "captioner" / "album.db"
    Album(default_path()).close()
    assert [stat.S_IMODE(os.stat(each).st_mode) for each in (default_path(), default_path().parent)] == [0o600, 0o700]
    monkeypatch.setenv("CAPTIONER_ALBUM", "mine.db")
    assert default_path() == Path("mine.db")


def other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE notes (text)")


def newer(path: Path) -> None:
    Album(path).close()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA user_version = 2")


def cut(path: Path) -> None:
    Album(path).close()
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (other_database, "expected an album of captioner, got another database; use another file"),
        (newer, "expected an album of version 1, got 2; update captioner"),
        (lambda path: path.write_text("a text" * 500), "file is not a database; it is no album; use another file"),
        (cut, "malformed; restore it from a backup"),
        (Path.mkdir, "unable to open"),
    ],
)
def test_a_file_that_is_no_album_is_refused_and_stays(
    make: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.db"
    make(path)
    content = path.is_file() and path.read_bytes()
    with pytest.raises(CaptionerError, match=f"^{path}: .*{message}"), Album(path) as album:
        album.check()
    assert (path.is_file() and path.read_bytes()) == content


def test_a_full_disk_loses_nothing_that_was_written(
    tmp_path: Path, files_of_at_most: Callable[[int], AbstractContextManager[None]]
) -> None:
    path, pictures = tmp_path / "a.db", [photo(tmp_path / f"{number}.jpg") for number in range(99)]
    with Album(path) as album:
        caption(album, pictures[0])

    def caption_all() -> None:
        with Album(path) as album:
            for picture in pictures:
                caption(album, picture)

    with files_of_at_most(path.stat().st_size), pytest.raises(CaptionerError, match=f"^{path}: "):
        caption_all()
    with Album(path) as album:
        album.check()
        assert texts(album)["0.jpg"] == "a dog"


def test_a_second_process_waits_and_then_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.photos.album.BUSY", 0.01)
    path, first = tmp_path / "a.db", photo(tmp_path / "a.jpg")
    Album(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(CaptionerError, match="locked; another process writes it; try again"), Album(path) as album:
        caption(album, first)
    other.execute("ROLLBACK")
    with Album(path) as album:
        caption(album, first)
        assert texts(album) == {"a.jpg": "a dog"}
    other.close()


def test_a_caption_is_restored_from_its_record() -> None:
    import numpy as np

    attention = Attention(["a"], np.array([[0.25, 0.25, 0.125, 0.125, 0.25]]), (2, 2))
    candidates = [Candidate("a", -1.0), Candidate("b", -2.0)]
    whole = Caption(
        "a\udce9.jpg", "a", -1.0, [], None, candidates, attention, 3.5, 0.25, ["uncertain"], [Keyword("dog", 0.5)]
    )
    without = whole._replace(attention=None, candidates=candidates[:1], familiarity=None, keywords=[])
    for given in (whole, whole._replace(attention=Attention([], np.zeros((0, 5)), (2, 2))), without):
        record = to_record(given)
        assert to_record(from_record(record)) == record


def test_photographs_are_in_natural_order(album: Album, tmp_path: Path) -> None:
    paths = [photo(tmp_path / name, name) for name in ("a2.png", "a10.png", "b1.png")]
    for path in reversed(paths):
        caption(album, path)
    assert [entry.path for entry in album.entries()] == paths
    assert [os.fsdecode(place) for place in album.ids()] == [*map(str, paths)]


def test_a_name_that_is_not_utf_8_is_a_place(album: Album, tmp_path: Path) -> None:
    path = photo(tmp_path / os.fsdecode(b"\xe9\n.jpg"), "a picture")
    caption(album, path)
    assert [entry.path for entry in album.entries()] == [path]


def test_a_merged_album_must_be_one(album: Album, tmp_path: Path) -> None:
    other_database(tmp_path / "b.db")
    with pytest.raises(UsageError, match="got another database"):
        Album(tmp_path / "b.db")
