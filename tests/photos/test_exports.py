"""Exports of an album: what a person writes in them is found, whatever program saves them, and no row is lost."""

import codecs
import csv
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.captioning.caption import Candidate, Caption
from captioner.data.table_cells import NEEDED, unescape_cell
from captioner.decode.word_regression import Keyword
from captioner.errors import CaptionerError, DataError, UsageError
from captioner.photos.album import Album, status_of
from captioner.photos.exports import CELLS, read_table, take_corrections, write_table

TEXTS = {
    "a.jpg": "two dogs run",
    "b.jpg": '=1+1; @the dog\'s "ball", 0.83',
    "c\né.jpg": "-true",
    os.fsdecode(b"\xe9.jpg"): "",
}
KEYWORDS = [Keyword("dog", 0.9), Keyword("snow", 0.3)]


def fill(album: Album, folder: Path, names: tuple[str, ...] = tuple(TEXTS)) -> list[Path]:
    """Add photographs, and return their paths."""
    for name in names:
        (folder / name).write_bytes(name.encode(errors="surrogateescape"))
        text = TEXTS.get(name, name)
        caption = Caption(
            name, text, -1.5, [], None, [Candidate(text, -1.5)], similarity=0.25, familiarity=4.0,
            marks=["uncertain"], keywords=KEYWORDS, shares=KEYWORDS, digest=f"{hash(name) % 2**64:032x}",
        )  # fmt: skip
        album.locate(folder / name, bytes.fromhex(caption.digest), status_of(folder / name), caption, "m")
    album.flush()
    return [folder / name for name in names]


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Album]:
    monkeypatch.chdir(tmp_path)
    with Album(None) as opened:
        yield opened


def id_of(album: Album, id: str) -> str:
    """The id in the row of a photograph that was corrected."""
    return f"{id}-{album.find(id)[0].revision}-{album.id}"


def export(album: Album, name: str, photos: list[Path] | None = None) -> list[str]:
    """Read a table, take its corrections, and write it, as a command does; return the problems."""
    table = read_table(Path(name))
    _, problems = take_corrections(album, table)
    write_table(album, table, photos or [])
    return problems


def rows(name: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(Path(name).read_text("utf-8-sig"), newline=""), delimiter=delimiter))


def save(
    name: str, table: list[dict[str, str]], delimiter: str = ",", encoding: str = "utf-8", end: str = "\r\n"
) -> None:
    """Save a table as another program does."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, table[0], delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_MINIMAL)
    writer.writeheader()
    writer.writerows(table)
    Path(name).write_bytes(text.getvalue().encode(encoding))


def captions(album: Album) -> dict[str, str]:
    return {entry.path.name: entry.caption.text for entry in album.entries()}


def test_a_table_has_what_counts_and_what_was_generated(album: Album, tmp_path: Path) -> None:
    photos = fill(album, tmp_path)
    (entry,) = album.entries(photos[:1])
    album.correct(entry.id, ("my dogs", ["dog"]), "page")
    assert write_table(album, read_table(Path("t.csv")), photos) == "t.csv: 4 photographs"
    first, *others = rows("t.csv")
    assert first == {
        "image": "a.jpg", "caption": "my dogs", "keywords": "dog", "marks": "corrected", "similarity": "",
        "generated_caption": "two dogs run", "generated_keywords": "dog, snow", "id": id_of(album, entry.id),
    }  # fmt: skip
    assert [unescape_cell(row["caption"]) for row in others] == [*TEXTS.values()][1:]
    assert [row["image"] for row in others] == ["b.jpg", r"c\x0aé.jpg", r"\xe9.jpg"]
    assert export(album, "t.csv") == []


WORKED = (
    '\ufeff"image","caption","keywords","marks","similarity","generated_caption","generated_keywords","id"\r\n'
    '"a.jpg","my dogs","dog","corrected","","two dogs run","dog, snow","{id}"\r\n'
)


def test_a_table_byte_by_byte(album: Album, tmp_path: Path) -> None:
    photos = fill(album, tmp_path, ("a.jpg",))
    (entry,) = album.entries(photos)
    album.correct(entry.id, ("my dogs", ["dog"]), "page")
    write_table(album, read_table(Path("t.csv")), photos)
    assert Path("t.csv").read_bytes().decode() == WORKED.format(id=id_of(album, entry.id))


FORMS: list[Callable[[str, list[dict[str, str]]], None]] = [
    save,
    lambda name, table: save(name, table, ";", "utf-8-sig"),
    lambda name, table: save(name, table, "\t", "utf-16"),
    lambda name, table: save(name, table, end="\n"),
    lambda name, table: save(name, table, ";", end="\r"),
    lambda name, table: save(name, sorted(table, key=lambda row: row["caption"])),
    lambda name, table: save(name, [{key: row[key] for key in sorted(row)} for row in table]),
    lambda name, table: save(name, [{**row, "similarity": "0,25", "notes": "-5", "": "=A1"} for row in table]),
    lambda name, table: save(
        name, [{key: value for key, value in row.items() if key in (*NEEDED, "id")} for row in table]
    ),
    lambda name, table: save(name, [{key: value for key, value in row.items() if key in NEEDED} for row in table]),
]


@pytest.mark.parametrize("form", range(len(FORMS)))
def test_a_correction_is_found_in_every_form_of_a_table(form: int, album: Album, tmp_path: Path) -> None:
    photos = fill(album, tmp_path)
    export(album, "t.csv", photos)
    table = rows("t.csv")
    table[2]["caption"], table[0]["keywords"] = 'mein "Hund"; =los, äöü', "pug; dog"
    FORMS[form]("t.csv", table)
    assert export(album, "t.csv") == []
    expected = {**TEXTS, "c\né.jpg": 'mein "Hund"; =los, äöü'}
    assert captions(album) == expected
    assert {name: len(words) for name, (_, words) in zip(TEXTS, album.corrections().values(), strict=False)}
    assert sorted(album.corrections().values()) == sorted(
        [(expected["a.jpg"], ["pug", "dog"]), (expected["c\né.jpg"], ["dog", "snow"])]
    )
    content = Path("t.csv").read_bytes()
    assert export(album, "t.csv") == []
    assert Path("t.csv").read_bytes() == content
    assert len(album.history(next(album.entries(photos[:1])).id)[0]) == 1, "taken once"


def test_own_columns_rows_and_their_order_stay(album: Album, tmp_path: Path) -> None:
    photos = fill(album, tmp_path, ("a.jpg", "b.jpg", "c.jpg"))
    export(album, "t.csv", photos[:2])
    second, first = rows("t.csv")
    lines = [{"notes": "-5", **first}, {"notes": '=A1"', **second}, {"notes": "all", **dict.fromkeys(first, "")}]
    save("t.csv", lines, ";")
    export(album, "t.csv", photos)
    table = rows("t.csv", ";")
    assert [(row["notes"], row["image"]) for row in table] == [
        ("-5", "b.jpg"),
        ('=A1"', "a.jpg"),
        ("all", ""),
        ("", "c.jpg"),
    ]
    album.forget(photos)
    export(album, "t.csv")
    images = [row["image"] for row in rows("t.csv", ";")]
    assert images == ["b.jpg", "a.jpg", ""], "a forgotten photograph has a row if a person wrote in its own column"


def test_a_table_finds_photographs_that_were_moved(album: Album, tmp_path: Path) -> None:
    Path("old").mkdir()
    photos = fill(album, tmp_path / "old", ("a.jpg", "b.jpg"))
    export(album, "t.csv", photos)
    Path("old").rename("new")
    for path in photos:
        assert album.known(tmp_path / "new" / path.name)
    Path("tables").mkdir()
    table = rows("t.csv")
    table[0]["caption"] = "corrected before it was moved"
    save("tables/other name.csv", table)
    assert export(album, "tables/other name.csv") == []
    assert [row["image"] for row in rows("tables/other name.csv")] == ["../new/a.jpg", "../new/b.jpg"]
    assert captions(album)["a.jpg"] == "corrected before it was moved"


def test_an_older_table_does_not_undo_a_correction(album: Album, tmp_path: Path) -> None:
    photos = fill(album, tmp_path, ("a.jpg",))
    export(album, "old.csv", photos)
    export(album, "t.csv", photos)
    for text in ("first", "second"):
        save("t.csv", [{**rows("t.csv")[0], "caption": text}])
        export(album, "t.csv")
    export(album, "old.csv")
    assert captions(album) == {"a.jpg": "second"} == {"a.jpg": rows("old.csv")[0]["caption"]}


def test_a_correction_is_taken_back_by_writing_what_was_there(album: Album, tmp_path: Path) -> None:
    photos = fill(album, tmp_path, ("a.jpg",))
    export(album, "t.csv", photos)
    (own,) = rows("t.csv")
    texts = [
        ("mine", "pug", "corrected"),
        ("other", "", "corrected"),
        ("mine", "pug", "corrected"),
        (own["caption"], "dog; snow", "uncertain"),
    ]
    for text, words, marks in texts:
        save("t.csv", [{**rows("t.csv")[0], "caption": text, "keywords": words}])
        assert export(album, "t.csv") == []
        (row,) = rows("t.csv")
        assert (row["caption"], row["keywords"], row["marks"]) == (text, words.replace(";", ","), marks)
    assert album.corrections() == {}


def test_what_cannot_be_taken_or_replaces_a_text_is_named(album: Album, tmp_path: Path) -> None:
    photos = fill(album, tmp_path, ("a.jpg", "b.jpg"))
    export(album, "t.csv", photos)
    first, second = rows("t.csv")
    save("t.csv", [{**first, "caption": " "}, {**second, "id": "", "image": "gone.jpg", "caption": "mine"}])
    assert export(album, "t.csv") == [
        "t.csv:2: a.jpg: the caption was removed; the album keeps 'two dogs run'",
        "t.csv:3: gone.jpg: not in the album; the row is kept",
    ]
    pairs = [(row["image"], row["caption"]) for row in rows("t.csv")]
    assert pairs == [("a.jpg", TEXTS["a.jpg"]), ("gone.jpg", "mine")]
    for name, text in ("u.csv", "one"), ("v.csv", "other"):
        save(name, [{**first, "caption": text}])
    assert take_corrections(album, read_table(Path("u.csv"))) == (1, [])
    problem = "v.csv:2: a.jpg: 'other' replaces 'one', which a person wrote too"
    assert take_corrections(album, read_table(Path("v.csv"))) == (1, [problem])
    corrections = album.history(first["id"].partition("-")[0])[0]
    assert [each.description[0] for each in corrections if each.description][-2:] == ["one", "other"]


def test_an_edit_is_taken_once_and_what_is_written_later_stays(album: Album, tmp_path: Path) -> None:
    fill(album, tmp_path, ("a.jpg",))
    (entry,) = album.entries()
    export(album, "t.csv", [entry.path])
    (row,) = rows("t.csv")

    def read(name: str, **values: str) -> str:
        """Read a table with a text, which is not written again, and return what counts."""
        save(name, [{**row, **values}])
        take_corrections(album, read_table(Path(name)))
        return captions(album)["a.jpg"]

    assert read("t.csv", caption="A") == "A"
    for later in ("B", None):
        album.correct(entry.id, later and (later, ["dog"]), "page")
        assert read("t.csv", caption="A") == (later or TEXTS["a.jpg"]), "it was read before"
        assert read("t.csv", caption="A", notes="mine") == (later or TEXTS["a.jpg"])
        assert read("copy.csv", caption="A") == (later or TEXTS["a.jpg"]), "and so was the original of a copy"
    album.correct(entry.id, ("P", ["dog"]), "page")
    album.correct(entry.id, None, "page")
    assert read("other.csv", caption="P") == "P", "no table had this text"
    assert read("t.csv", caption="C") == "C"
    assert read("t.csv", caption="A") == "A", "it was edited again"
    assert read("t.csv", caption=TEXTS["a.jpg"]) == TEXTS["a.jpg"]


def test_a_table_of_another_album_replaces_no_text_unnamed(album: Album, tmp_path: Path) -> None:
    (path,) = fill(album, tmp_path, ("a.jpg",))
    (entry,) = album.entries()
    with Album(None) as other:
        fill(other, tmp_path, ("a.jpg",))
        other.correct(entry.id, ("of the other", []), "page")
        export(other, "t.csv", [path])
    album.correct(entry.id, ("mine", []), "page")
    _, problems = take_corrections(album, read_table(Path("t.csv")))
    assert problems == ["t.csv:2: a.jpg: 'of the other' replaces 'mine', which a person wrote too"]


def test_a_long_text_is_read(album: Album, tmp_path: Path) -> None:
    fill(album, tmp_path, ("a.jpg",))
    (entry,) = album.entries()
    album.correct(entry.id, ("a " * 100_000, []), "page")
    export(album, "t.csv", [entry.path])
    assert export(album, "t.csv") == []


HEADER = "image,caption,keywords,generated_caption,generated_keywords\n"
REFUSED = {
    "windows.csv": (f"{HEADER}a.png,été,,,\n".encode("cp1252"), "line 2: expected UTF-8 text; save it as UTF-8"),
    "twice.csv": (HEADER.replace("caption", "caption,caption", 1).encode(), "expected a table of `captioner caption`"),
    "budget.csv": (b"month,euros\n1,2\n", "expected a table of `captioner caption`, with image, caption, keywords, "),
    "open.csv": (f'{HEADER}a.png,"été,,,\n'.encode(), "line 2: unexpected end of data; nothing was changed"),
    "lines.csv": (b'{"image": "a.png", "caption": "a", "log_prob": -1}\n', "got a text file without them"),
    "photo.csv": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "line 1: expected UTF-8 text"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_export_is_refused(name: str, tmp_path: Path) -> None:
    content, message = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((DataError, UsageError), match=rf"{name}: .*{message}"):
        read_table(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", codecs.BOM_UTF16_LE, b"\r\n"])
def test_an_empty_file_is_an_empty_table(content: bytes, album: Album, tmp_path: Path) -> None:
    Path("t.csv").write_bytes(content)
    export(album, "t.csv", fill(album, tmp_path, ("a.jpg",)))
    assert [row["image"] for row in rows("t.csv")] == ["a.jpg"]


def test_a_table_that_another_program_changes_meanwhile_stays(album: Album, tmp_path: Path) -> None:
    photos = fill(album, tmp_path, ("a.jpg",))
    for name in ("t.csv", "new.csv"):
        table = read_table(Path(name))
        Path(name).write_text("mine")
        with pytest.raises(CaptionerError, match=r"is not replaced; the new one is .*-2\.csv"):
            write_table(album, table, photos)
        assert Path(name).read_text() == "mine"
        assert [row["image"] for row in rows(name.replace(".", "-2."))] == ["a.jpg"]


ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(ANY, min_size=1, max_size=4), st.sampled_from(";,\t"))
def test_any_text_is_taken_as_it_was_written(texts: list[str], delimiter: str) -> None:
    with TemporaryDirectory() as folder, Album(None) as album:
        photos, name = fill(album, Path(folder), ("a.jpg",)), f"{folder}/t.csv"
        export(album, name, photos)
        for text in texts:
            before, table = captions(album)["a.jpg"], read_table(Path(name))
            save(name, [{**dict(zip(table.columns, table.rows[0].cells, strict=True)), "caption": text}], delimiter)
            problems, written = export(album, name), " ".join(unescape_cell(text).split())
            assert bool(problems) == (not written)
            assert captions(album)["a.jpg"] == (written or before)


def test_columns_are_unique() -> None:
    assert {*NEEDED} < {*CELLS}


def test_find_and_replace_over_a_whole_table_corrects(album: Album, tmp_path: Path) -> None:
    export(album, "t.csv", fill(album, tmp_path, ("a.jpg",)))
    Path("t.csv").write_bytes(Path("t.csv").read_bytes().replace(b"dogs", b"pugs"))
    export(album, "t.csv")
    assert captions(album) == {"a.jpg": "two pugs run"}
    Path("t.csv").write_bytes(Path("t.csv").read_bytes().replace(b"snow", b"ice"))
    assert not export(album, "t.csv")
    assert rows("t.csv")[0]["keywords"] == "dog, ice"


def test_an_unedited_table_of_another_model_corrects_nothing(album: Album, tmp_path: Path) -> None:
    export(album, "t.csv", fill(album, tmp_path, ("a.jpg",)))
    (row,) = rows("t.csv")
    other = {"caption": "pets", "generated_caption": "pets", "keywords": "pet", "generated_keywords": "pet"}
    save("u.csv", [{**row, **other, "id": row["id"].rpartition("-")[0] + "-another"}])
    assert not export(album, "u.csv")
    assert captions(album) == {"a.jpg": "two dogs run"}


def test_a_row_that_was_copied_keeps_the_cells_of_a_person(album: Album, tmp_path: Path) -> None:
    export(album, "t.csv", fill(album, tmp_path, ("a.jpg",)))
    (row,) = rows("t.csv")
    lines = "".join(f"{name},,x,x\r\n" for name in (",".join(row), ",".join(f'"{cell}"' for cell in row.values())))
    Path("t.csv").write_text(lines + lines.splitlines()[1].replace(",x,x", ",precious,y"))
    export(album, "t.csv")
    saved = [line[-3:] for line in csv.reader(io.StringIO(Path("t.csv").read_text("utf-8-sig"), newline=""))]
    assert saved == [["", "x", "x"], ["", "x", "x"], ["", "precious", "y"]]


@pytest.mark.parametrize("place", [0, 1])
def test_one_of_two_copies_of_a_row_is_corrected(place: int, album: Album, tmp_path: Path) -> None:
    export(album, "t.csv", fill(album, tmp_path, ("a.jpg",)))
    (row,) = rows("t.csv")
    copies = [row, {**row, "caption": "my words"}]
    save("t.csv", copies if place else copies[::-1])
    taken = [take_corrections(album, read_table(Path("t.csv"))) for _ in range(2)]  # as a command does
    assert taken == [(1, []), (0, [])]
    assert captions(album) == {"a.jpg": "my words"}


@pytest.mark.parametrize("image", ["a\0b", r"a\x00b"])
def test_a_path_with_a_null_character_is_refused(image: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{HEADER}{image},a,,,\n")
    with pytest.raises(DataError, match=r"t\.csv: line 2: .*; nothing was changed"):
        read_table(tmp_path / "t.csv")
