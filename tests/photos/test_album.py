"""Tables that grow, edited by hand and cut at any byte: no row is lost or altered, and no photograph has two."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.captioning.caption import Candidate, Caption
from captioner.data.table_cells import NEEDED, Stamp, digest_of, parse_stamp, unescape_cell
from captioner.errors import CaptionerError, DataError
from captioner.photos.album import Album
from captioner.photos.table import Table
from captioner.photos.table_rows import time_of

TEXTS = ("a café by the sea", "two dogs run", "", "a man, a plan", "gone", "gone, too")
"""The captions of photographs 0 to 3, which exist, and of two that are gone."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files as photographs: a table does not decode them."""
    paths = [tmp_path_factory.getbasetemp() / f"{number}é.jpg" for number in range(4)]
    for path in paths:
        path.write_text(path.name)
    return paths


def run(path: Path, photos: Sequence[Path]) -> dict[str, str]:
    """Caption what a table lacks; return the corrections by photograph."""
    with closing(Album()) as album:
        album.tables.append(Table(path, "0" * 8))
        for photo in album.select(photos):
            assert isinstance(photo, Path)
            text, digest = TEXTS[int(photo.name[0])], sha256(photo.read_bytes()).hexdigest()
            caption = Caption("", text, -1.25, [], None, [Candidate(text, -1.25)], digest=digest)
            assert list(album.write(photo, caption)) == []
        return {Path(place).name: each.caption for place, each in album.tables[0].corrections.items()}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_table_cut_at_any_byte_is_completed(
    suffix: str, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captioner.files.atomic._sync", lambda path: None)
    path = tmp_path / f"t{suffix}"
    run(path, photos[:2])
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert run(path, photos[:2]) == {}
        assert path.read_bytes() == whole, f"cut at byte {size}"


@pytest.mark.parametrize("last", ['{},"mine, really",,,', "{},mine", '"{}","mine",,,', '"{}","mine","","",""'])
def test_a_last_row_without_its_end_of_a_person_stays(last: str, photos: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    image = os.path.relpath(photos[0], tmp_path)
    content = f"image,caption,keywords,file,notes\r\n{last.format(image)}".encode()
    path.write_bytes(content)
    assert photos[0].name in run(path, photos[:1])
    assert path.read_bytes() == content + b"\r\n"


def test_a_single_row_without_its_end_is_replaced(tmp_path: Path) -> None:
    path, photo = tmp_path / "t.jsonl", tmp_path / "1.jpg"
    for content in ("one", "other"):
        photo.write_text(content)
        run(path, [photo])
        table = path.read_bytes()
        path.write_bytes(table.rstrip())
    run(path, [photo])
    assert path.read_bytes() == table
    assert (table[:1], table.count(b"\n")) == (b"{", 1), "no empty line, which the table may not start with"


def test_rows_that_a_killed_process_removed_are_restored_as_they_were(photos: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    run(path, photos[:3])
    header, *lines = path.read_bytes().replace(b"\r\n", b',"","5"\r\n').splitlines(keepends=True)
    lines[1] = lines[1].replace(b"two dogs", b"ten dogs").replace(b"\r\n", b",beyond\r\n")
    path.write_bytes(header + lines[0])
    stored, whole = path.with_name(".t.lock.csv"), b"".join([header, *lines])
    stored.write_bytes(whole + b'"2\xc3\xa9.jpg","damaged\n')
    with pytest.raises(DataError, match="unexpected end of data; nothing was changed; it has rows that an interrupted"):
        Table(path, "0" * 8)
    assert path.read_bytes() == header + lines[0]
    stored.write_bytes(b"damaged\n")
    with pytest.raises(DataError, match="it has rows that an interrupted run removed"):
        Table(path, "0" * 8)
    stored.write_bytes(whole)
    assert run(path, photos[:3]) == {photos[1].name: "ten dogs run"}
    assert path.read_bytes() == b"".join([header, *lines])
    assert os.listdir(tmp_path) == ["t.csv"]


def test_blank_lines_remarks_and_further_headers_are_no_photographs(photos: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    run(path, photos[:1])
    header, line = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([header, b"  \r\n# checked, so far\r\n", header, line, b" ,\r\n"]))
    assert run(path, photos[:2]) == {}
    with closing(Table(path, "0" * 8)) as table:
        assert len(table) == 2


def test_an_edit_of_the_same_size_before_a_table_is_rewritten_stays(tmp_path: Path) -> None:
    path, photo = tmp_path / "t.csv", tmp_path / "1.jpg"
    photo.write_text("one")
    run(path, [photo])
    photo.write_text("other")
    with closing(Album()) as album:
        album.tables.append(Table(path, "0" * 8))
        edited = path.read_bytes().replace(b"two dogs", b"ten dogs")
        path.write_bytes(edited)
        with pytest.raises(CaptionerError, match="changed by another program"):
            album.select([photo])
    assert path.read_bytes() == edited


def test_a_table_that_becomes_a_named_pipe_is_not_opened(photos: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    run(path, photos[:1])
    with closing(Album()) as album:
        album.tables.append(Table(path, "0" * 8))
        (photo,) = album.select(photos[:2])
        path.unlink()
        os.mkfifo(path)
        (error,) = album.write(Path(str(photo)), Caption("", "a", -1.0, [], None, [], digest="0" * 8))
    assert "changed by another program" in str(error)


def test_any_time_of_a_file_has_one_form() -> None:
    for seconds, text in (
        (0, "19700101T000000Z"),
        (253402300800, "99991231T235959Z"),
        (-62135596800, "00010101T000000Z"),
    ):
        status = os.stat_result((0, 0, 0, 0, 0, 0, 0, 0, seconds, 0))
        assert time_of(status) == text
        assert parse_stamp(str(Stamp(1, time_of(status), *["0" * 8] * 3)))


CELLS = st.text(st.sampled_from("aé猫 ,;\t\"'=\n\r-@\\"), max_size=8).map(lambda text: text.replace("\r", "\r\n"))


class Edited(NamedTuple):
    """A table that a person edited, maybe cut, its whole rows, the corrections by photograph, and its separator."""

    content: bytes
    is_cut: bool
    rows: list[dict[str, str]]
    corrections: Mapping[str, str]
    delimiter: str

    def read(self, content: bytes) -> list[dict[str, str]]:
        lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=self.delimiter, strict=True)
        columns, *rows = filter(None, lines)
        return [dict(zip(columns, row, strict=not self.is_cut)) for row in rows]


@st.composite
def edited_tables(draw: st.DrawFn) -> Edited:
    columns = draw(
        st.permutations([*NEEDED, *draw(st.sets(st.sampled_from(["notes", "a, b;c", "two\nlines", "log_prob"])))])
    )
    delimiter, line_end = draw(st.sampled_from(",;\t")), draw(st.sampled_from(["\n", "\r\n"]))
    quoting = draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]))
    text, corrections, rows, ends = io.StringIO(draw(st.sampled_from(["", "\ufeff"]))), {}, [], list[int]()
    text.seek(0, io.SEEK_END)
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerow(columns)
    header = len(text.getvalue().encode())
    for number in draw(st.lists(st.integers(0, len(TEXTS) - 1), unique=True)):
        name, own = f"{number}é.jpg", TEXTS[number]
        caption = draw(st.just(own) | CELLS)
        # the digest of another photograph: a row that is not corrected is replaced
        stamp = draw(st.just(f"12 bytes 20261130T111800Z {'0' * 8} {digest_of(own)} {'0' * 8}") | st.just("mine"))
        if caption != own or stamp == "mine":
            corrections[name] = unescape_cell(caption)
        rows.append(
            dict.fromkeys(columns, draw(CELLS)) | {"image": name, "caption": caption, "keywords": "", "file": stamp}
        )
        writer.writerow(rows[-1].values())
        ends.append(len(text.getvalue().encode()))
        text.write(line_end * draw(st.integers(0, 1)))
    content = text.getvalue().encode()
    size = draw(st.just(len(content)) | st.integers(header, len(content)))
    whole = sum(end - len(line_end) <= size for end in ends)
    return Edited(content[:size], size < len(content), rows[:whole], corrections, delimiter)


@pytest.mark.slow
@given(edited_tables())
def test_a_table_edited_by_hand_keeps_its_rows(photos: list[Path], edited: Edited) -> None:
    path = photos[0].with_name("edited.csv")
    path.write_bytes(edited.content)
    try:
        found = run(path, photos)
    except DataError:  # cut inside of a cell with line breaks
        assert edited.is_cut
        assert path.read_bytes() == edited.content
        return
    after = path.read_bytes()
    rows, existing = edited.read(after), {photo.name for photo in photos}
    names = [row.get("image") for row in rows]
    assert len(set(names)) == len(names)
    assert existing <= set(names)
    kept = [row for row in edited.rows if row["image"] in edited.corrections or row["image"] not in existing]
    assert rows[: len(kept)] == kept
    if not edited.is_cut:
        assert found == edited.corrections
        assert len(kept) < len(edited.rows) or after.startswith(edited.content)
        new = rows[len(kept) :]
        assert [row["caption"] for row in new] == [TEXTS[int(row["image"][0])] for row in new]
        assert {row.get("log_prob", "-1.25") for row in new} <= {"-1.25"}
        notes = {row["image"]: row.get("notes") for row in edited.rows}
        assert all(row.get("notes") == notes.get(row["image"], row.get("notes")) for row in new)
    assert run(path, photos) == found
    assert path.read_bytes() == after, "the second run has nothing to do"


def test_json_lines_edited_by_hand_keep_their_rows(photos: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    run(path, photos[:3])
    first, *others = (json.loads(line) for line in path.read_text().splitlines())
    reordered = dict(reversed([*first.items(), ("stars", 5)])) | {"caption": "été"}
    lines = "\r\n".join(json.dumps(record, ensure_ascii=False) for record in (reordered, *others))
    content = f"\ufeff{lines}".replace("\n", "\n\r\n", 1).encode()  # with an empty line, and without its end
    path.write_bytes(content)
    assert run(path, photos) == {photos[0].name: "été"}
    after = path.read_bytes()
    assert after.startswith(content + b"\n")
    assert after.count(b'"image"') == len(photos)


def test_keys_of_a_person_stay_when_a_photograph_changes(photos: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    run(path, photos[:1])
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "stars": 5, "file": f"1{record['file']}", "candidates": ["old"]}))
    run(path, photos[:1])
    assert json.loads(path.read_text()) == {**record, "stars": 5}
