"""captioner caption: tables that go on where they stopped, what other programs do meanwhile, signals, and progress."""

import csv
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from captioner.cli import output
from captioner.data.table_cells import unescape_path
from captioner.photos.album import Album
from faults.interrupted import content_of

Run = Callable[..., Any]
FORMATS = ["t.csv", "t.jsonl"]
RAW = os.fsdecode(b"\xe9.png")
NAMES = ["a\nb.png", RAW, "a\\x41.png", "=1+1.png", "-a.png", "@a.png", "'=a.png", 'a"b.png', " a .png", "é猫.png"]


@pytest.fixture
def caption(cli: Run, photo_run: Path, new_folder: Path) -> Run:
    """The command with a model of the new photographs 070.png to 074.png in `new`."""
    return lambda *words, write=(): cli(
        "caption", *words, "--model", photo_run, *(word for path in write for word in ("--write", path))
    )


def rows(path: Path | str) -> dict[str, dict[str, Any]]:
    """The rows of a table by image; an image has one row."""
    if str(path).endswith(".csv"):
        with open(path, newline="", encoding="utf-8-sig") as file:
            table: list[dict[str, Any]] = list(csv.DictReader(file))
    else:
        table = [json.loads(line) for line in Path(path).read_text().splitlines()]
    found = {row["image"]: row for row in table}
    assert len(found) == len(table)
    return found


def correct(path: str, image: str, caption: str) -> None:
    """Replace the caption of a row, as a person does."""
    before = rows(path)[image]["caption"]
    lines = Path(path).read_text().splitlines(keepends=True)
    edited = (line.replace(f'"{before}"', f'"{caption}"') if image in line else line for line in lines)
    Path(path).write_text("".join(edited))


def summary(err: str) -> str:
    return next(line for line in err.splitlines() if line.startswith("captioned: "))


@pytest.mark.parametrize("table", FORMATS)
def test_the_same_command_captions_what_is_new_or_changed(table: str, caption: Run) -> None:
    assert summary(caption("new", write=[table]).err) == "captioned: 5"
    first, content = rows(table), Path(table).read_bytes()
    done = caption("new", write=[table])
    assert done == (0, "", f"captioned: 0; already captioned: 5\n{table}: 5 photographs\n")
    assert Path(table).read_bytes() == content
    os.utime("new/070.png", (1, 1))  # time alone: the digest decides
    Path("new/071.png").write_bytes(Path("new/071.png").read_bytes() + b"\0")  # another size
    Path("new/072.png").write_bytes(Path("new/072.png").read_bytes()[:-1] + b"\0")  # the same size
    os.utime("new/072.png", (2, 2))
    Path("new/073.png").unlink()
    correct(table, "new/074.png", "my own words")
    os.utime("new/074.png", (1, 1))
    shutil.copy("new/070.png", "new/075.png")
    expected = "captioned: 3; already captioned: 2; of these corrected by you: 1; changed and captioned again: 2"
    assert summary(caption("new", write=[table]).err) == expected
    second = rows(table)
    assert [*second] == [f"new/07{number}.png" for number in (0, 3, 4, 1, 2, 5)]
    assert second["new/073.png"] == first["new/073.png"]
    for name, edited in ("070", {}), ("074", {"caption": "my own words"}):
        before = first[f"new/{name}.png"]
        stamp = re.sub(r"\w+Z", "19700101T000001Z", before["file"])
        assert second[f"new/{name}.png"] == {**before, **edited, "file": stamp}
    content = Path(table).read_bytes()
    assert summary(caption("new", write=[table]).err).startswith("captioned: 0; already captioned: 5; ")
    assert Path(table).read_bytes() == content
    assert summary(caption("new", "--overwrite", "-n", 3, write=[table]).err) == "captioned: 3"
    assert rows(table)["new/074.png"]["caption"] == "my own words"
    assert summary(caption("new", "--overwrite", write=[table]).err) == "captioned: 5; of your corrections replaced: 1"
    assert rows(table)["new/074.png"]["caption"] == first["new/074.png"]["caption"]


def test_a_photograph_has_one_row_however_it_is_named(caption: Run) -> None:
    Path("moved").symlink_to("new")
    names = ("new", "./new/../new/070.png", "moved", Path.cwd() / "new" / "071.png")
    assert summary(caption(*names, write=FORMATS).err) == "captioned: 5"
    assert summary(caption(*names, write=FORMATS).err) == "captioned: 0; already captioned: 5"
    Path("elsewhere").mkdir()
    shutil.move("new", "elsewhere/new")
    Path("new").symlink_to("elsewhere/new")  # the paths in the tables still lead to the photographs
    assert summary(caption("new", "elsewhere", write=FORMATS).err) == "captioned: 0; already captioned: 5"
    assert len(rows("t.csv")) == len(rows("t.jsonl")) == 5


def test_names_of_all_kinds_are_known_again(caption: Run) -> None:
    for name in NAMES:
        shutil.copy("new/070.png", f"new/{name}")
    Path("tables").mkdir()
    tables = [f"tables/{name}" for name in FORMATS]
    assert summary(caption("new", write=tables).err) == "captioned: 15"
    assert summary(caption("new", write=tables).err) == "captioned: 0; already captioned: 15"
    expected = {f"../new/{name}" for name in os.listdir("new")}
    assert {unescape_path(image) for image in rows(tables[0])} == rows(tables[1]).keys() == expected


def test_tables_with_different_rows_and_several_folders(caption: Run) -> None:
    shutil.copytree("new", "more")
    caption("new", "-n", 2, write=["t.csv"])
    caption("more", write=["t.jsonl"])
    correct("t.jsonl", "more/070.png", "my own words")
    assert summary(caption("new", "more", write=FORMATS).err) == "captioned: 10"
    assert len(rows("t.csv")) == len(rows("t.jsonl")) == 10
    assert rows("t.jsonl")["more/070.png"]["caption"] == "my own words"
    other = caption("new", "-o", "decode.max_length=3", write=["t.csv"])
    assert "5 of these captions are of another model or other options; --overwrite captions them" in other.err


def test_parts_cover_an_album_once_and_stay_when_photographs_are_added(caption: Run) -> None:
    shutil.copytree("new", "album/0")
    shutil.copytree("new", "album/1")
    parts: list[set[str]] = []
    for part, code in ("1/2", 1), ("2/2", 0):  # the error of a name belongs to the first part
        assert caption("album", "http://x/a.jpg", "--part", part, write=[f"{part[0]}.csv"]).code == code
        parts.append({*rows(f"{part[0]}.csv")})
    assert all(parts)
    assert (parts[0] & parts[1], len(parts[0] | parts[1])) == (set(), 10)
    shutil.copytree("new", "album/2")
    caption("album", "--part", "1/2", write=["again.csv"])
    assert {image for image in rows("again.csv") if "/2/" not in image} == parts[0]
    caption("album", "--part", "3/2").failed(2, "expected I/N with I from 1 to N, such as 2/8, got 3/2")


ROW = "image,caption,keywords,file\na.png,été,,3 bytes 20261130T202354Z 2cca2495 ed90b2f2 a82e541b\n"
LINE = b'{"image": "a", "caption": "b", "keywords": [], "file": "c"}\n'
REFUSED = {
    "windows.csv": (ROW.encode("cp1252"), "line 2: expected UTF-8 text; save it as UTF-8; nothing was changed"),
    "unended.csv": (ROW.encode("cp1252").rstrip(), "line 2: expected UTF-8 text"),
    "utf-16.csv": (ROW.encode("utf-16"), "got UTF-16 text; save it as UTF-8; use another file"),
    "mac.csv": (ROW.replace("\n", "\r").encode(), "got other columns"),
    "twice.csv": (ROW.replace("caption", "caption,caption", 1).encode(), "got other columns"),
    "sample.csv": (b"image,caption\n1,2\n", "with image, caption, keywords, file, got other columns; use another file"),
    "sep.csv": (b"sep=,\r\n" + ROW.encode(), "file, got sep= above them; delete this line\n"),
    "budget.csv": (
        b"month,euros\n1,2\n",
        "with image, caption, keywords, file, got a",
    ),
    "open.csv": (ROW.replace("été", '"été').encode(), "line 2: unexpected end of data; nothing was changed"),
    "sample.jsonl": (b'{"image": "a.png", "caption": "a", "log_prob": -1}\n', "got other columns; use another file"),
    "cut.jsonl": (b'{"name": "a.png", "tags": [', "got a text file; use another file"),
    "middle.jsonl": (LINE + LINE[:20] + b"\n" + LINE, "line 2: "),
    "nul.jsonl": (LINE.replace(b'"a"', rb'"\u0000/a"'), "line 1: expected a path in image; nothing was changed"),
    "deep.jsonl": (b"[" * 60_000, "got a text file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_such_table_is_refused(name: str, caption: Run) -> None:
    content, message = REFUSED[name]
    Path(name).write_bytes(content)
    done = caption("new", write=["other.jsonl", name])
    done.failed(done.code or 1, f"{name}: ")
    assert message in done.err
    assert Path(name).read_bytes() == content
    assert sorted(os.listdir()) == sorted(["new", name]), "no other table and no lock file"


def test_an_output_that_is_no_file_is_refused(caption: Run) -> None:
    os.mkfifo("pipe.csv")
    Path("link.csv").symlink_to("nowhere.csv")
    for name in ("pipe.csv", "link.csv"):
        caption("new", write=[name]).failed(2, f"{name}: expected a file to replace, got something else")
    caption("new", write=["missing/t.csv"]).failed(2, "missing/t.csv: folder not found: missing")
    caption("new", write=["/sys/t.csv"]).failed(1, "/sys/t.csv: cannot write: ")  # a folder that root cannot write


def meanwhile(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], object]) -> None:
    """Do something before the row of a photograph is written."""
    write, calls = Album.write, iter(range(100))

    def with_act(album: Album, *arguments: Any) -> Any:
        if next(calls) == number:
            act()
        return write(album, *arguments)

    monkeypatch.setattr(Album, "write", with_act)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"a note")


OTHERS: dict[str, Callable[[Path], object]] = {
    "appended": append,
    "replaced": lambda path: Path("mine").write_bytes(b"\xff\n" * 9) and os.replace("mine", path),
    "deleted": lambda path: path.unlink(),
}


@pytest.mark.parametrize(("act", "first"), [("appended", 0), ("appended", 3), ("replaced", 3), ("deleted", 3)])
@pytest.mark.parametrize("table", FORMATS)
def test_what_another_program_does_meanwhile_stays(
    table: str, act: str, first: int, caption: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = Path(table), next(name for name in FORMATS if name != table)
    left = []
    meanwhile(monkeypatch, first, lambda: (OTHERS[act](path), left.append(path.exists() and path.read_bytes())))
    done = caption("new", write=[table, other, "xmp"])
    assert (done.code, done.out) == (1, "")
    changed = f"captioner: {table}: changed by another program; no further rows are written; run the command again"
    assert done.err.count(changed) == 1
    assert "Traceback" not in done.err
    assert [path.exists() and path.read_bytes()] == left
    assert len(rows(other)) == len([*Path("new").glob("*.xmp")]) == 5
    assert f"{other}: 5 photographs" in done.err
    assert act != "deleted" or f"{table}: " not in done.err.replace(changed, "")


def test_a_full_disk_costs_one_table(
    caption: Run, files_of_at_most: Callable[[int], AbstractContextManager[None]]
) -> None:
    caption("new", write=["whole.csv", "whole.jsonl"])
    whole = Path("whole.csv").read_bytes()
    with files_of_at_most(os.path.getsize("whole.jsonl") // 2):
        done, alone = caption("new", write=FORMATS), caption("new", write=["u.jsonl"])
    assert (done.code, done.err.count("t.jsonl: cannot write: ")) == (1, 1)
    assert summary(alone.err) == f"captioned: {len(rows('u.jsonl'))}"
    assert Path("t.csv").read_bytes() == whole
    assert 0 < len(rows("t.jsonl")) < 5
    assert f"t.jsonl: {len(rows('t.jsonl'))} photographs" in done.err
    shutil.copy("new/071.png", "new/070.png")
    before = [Path(name).read_bytes() for name in FORMATS]
    with files_of_at_most(100):  # neither table can be rewritten
        assert caption("new", write=FORMATS).code == 1
    assert [Path(name).read_bytes() for name in FORMATS] == before
    assert not [*Path().glob(".*")], "nothing is to be restored"
    assert caption("new", write=FORMATS).code == 0
    assert len(rows("t.csv")) == len(rows("t.jsonl")) == 5


@pytest.mark.usefixtures("caption")
def test_a_full_disk_on_stdout_costs_no_table(photo_run: Path, shell: Callable[..., Any]) -> None:
    command = ("caption", "new", "--model", photo_run, "--json", "--write", "t.jsonl", "--write", "t.html")
    with open("/dev/full", "w") as full:
        done = shell(*command, stdout=full, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert (done.returncode, done.stderr.count("captioner: output: No space left on device\n")) == (1, 1)
    assert (len(rows("t.jsonl")), os.path.exists("t.html")) == (5, True)


def test_sidecars_of_known_photographs_have_the_captions_of_the_table(caption: Run) -> None:
    certain, uncertain = ("-o", "decode.uncertain_below=0"), ("-o", "decode.uncertain_below=1")
    caption("new", *certain, write=FORMATS)
    correct("t.csv", "new/070.png", "my own words")
    Path("new/071.png.xmp").write_text("<x:xmpmeta/>")
    done = caption("new", *certain, write=[*FORMATS, "xmp", "exiftool.csv"])
    assert summary(done.err) == "captioned: 0; already captioned: 5; of these corrected by you: 1"
    assert "files of other programs, not changed: 1 (new/071.png.xmp)" in done.err
    assert "4 xmp sidecars written" in done.err
    assert ">my own words<" in Path("new/070.png.xmp").read_text()
    assert f">{rows('t.csv')['new/072.png']['caption']}<" in Path("new/072.png.xmp").read_text()
    assert '"./new/070.png","my own words"' in Path("exiftool.csv").read_text(), "of the other table"
    correct("t.csv", "new/072.png", "other words")  # of a photograph with a sidecar
    assert caption("new", *certain, write=["t.csv", "xmp"]).code == 0
    assert ">other words<" in Path("new/072.png.xmp").read_text()
    Path("new/072.png.xmp").unlink()
    assert "1 of them with keywords alone" in caption("new", *uncertain, write=["xmp"]).err
    assert summary(caption("new", *uncertain, write=["xmp"]).err) == "captioned: 0; already captioned: 5"
    shutil.copy("new/070.png", "new/070.jpg")
    done = caption("new", write=["u.csv", "lightroom"])
    assert (done.code, done.err.count("have the same sidecar; rename one of the photographs")) == (1, 1)


def test_of_two_rows_of_a_photograph_the_corrected_one_is_used_everywhere(caption: Run) -> None:
    caption("new", write=["t.csv"])
    first = Path("t.csv").read_text().splitlines()[1]
    correct("t.csv", "new/070.png", "my own words")
    Path("t.csv").write_text(Path("t.csv").read_text().replace("\n", f"\n{first}\n", 1))
    assert caption("new", write=["t.csv", "xmp", "exiftool.csv"]).code == 0
    assert ">my own words<" in Path("new/070.png.xmp").read_text()
    assert '"./new/070.png","my own words"' in Path("exiftool.csv").read_text()


def test_a_file_that_appears_is_not_replaced_by_a_derived_one(caption: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, 2, lambda: Path("exiftool.csv").write_text("mine"))
    done = caption("new", write=["exiftool.csv", "t.csv"])
    assert done.code == 1
    assert "exiftool.csv: expected a file of `captioner caption` to replace, got something" in done.err
    assert Path("exiftool.csv").read_text() == "mine"
    assert len(rows("t.csv")) == 5


def test_a_photograph_that_cannot_be_captioned_again_keeps_its_row(caption: Run) -> None:
    caption("new", write=FORMATS)
    correct("t.csv", "new/071.png", "my own words")
    caption("new", write=FORMATS)
    before = rows("t.csv")
    for name in ("070", "071"):
        Path(f"new/{name}.png").write_bytes(b"no photograph")
    done = caption("new", write=FORMATS)
    kept = "of these corrected by you: 1; of these changed since, correction kept: 1"
    assert summary(done.err) == f"captioned: 0; already captioned: 4; {kept}; unreadable: 1 (new/070.png)"
    assert rows("t.csv") == before
    done = caption("new", "--overwrite", write=["t.csv"])
    assert summary(done.err) == "captioned: 3; unreadable: 2 (new/070.png, new/071.png)"
    assert rows("t.csv").keys() == before.keys()
    assert rows("t.csv")["new/071.png"] == before["new/071.png"], "not captioned"


@pytest.mark.parametrize("words", [["--encoder", "onnx:nowhere.onnx"], ["--overwrite", "-v"]])
def test_rows_that_are_to_be_replaced_survive_a_failure(
    words: list[str], caption: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    caption("new", write=FORMATS)
    correct("t.csv", "new/071.png", "my own words")
    caption("new", write=FORMATS)
    before = [sorted(rows(table).items()) for table in FORMATS]
    for path in Path("new").iterdir():
        path.write_bytes(path.read_bytes() + b"\0")
    monkeypatch.setattr("captioner.photos.cli.caption.print_caption", lambda *_: os.listdir("/nowhere"))
    assert caption("new", *words, write=FORMATS).code != 0
    assert [len(rows(table)) for table in FORMATS] == [5, 5]
    if "--overwrite" not in words:
        assert [sorted(rows(table).items()) for table in FORMATS] == before


def test_a_correction_that_is_undone_or_changed_is_followed_by_the_other_tables(caption: Run) -> None:
    caption("new", write=FORMATS)
    own = rows("t.csv")["new/071.png"]["caption"]
    for text in ("first words", "second words"):
        correct("t.csv", "new/071.png", text)
        caption("new", write=FORMATS)
        assert rows("t.jsonl")["new/071.png"]["caption"] == text
    correct("t.jsonl", "new/071.png", "third words")  # each table keeps what a person wrote in it
    for text in ("second words", "fourth words"):
        correct("t.csv", "new/071.png", text)
        caption("new", write=FORMATS)
        assert rows("t.csv")["new/071.png"]["caption"] == text
        assert rows("t.jsonl")["new/071.png"]["caption"] == "third words"
    correct("t.jsonl", "new/071.png", "second words")  # as it was copied
    correct("t.csv", "new/071.png", own)
    assert summary(caption("new", write=FORMATS).err) == "captioned: 1; already captioned: 4"
    assert rows("t.jsonl")["new/071.png"]["caption"] == own


def test_a_photograph_that_becomes_a_folder_takes_no_other_caption(
    caption: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    caption("new", write=["t.csv"])
    whole = rows("t.csv")
    listed = Album.select

    def select(*arguments: Any) -> Any:
        chosen = listed(*arguments)
        Path("new/071.png").unlink()
        shutil.copytree("new", "new/071.png")
        return chosen

    monkeypatch.setattr(Album, "select", select)
    done = caption("new", write=["u.csv"])
    assert "new/071.png: expected a regular file, got a folder\n" in done.err
    del whole["new/071.png"]
    assert rows("u.csv") == whole


def test_a_correction_in_one_table_reaches_json_lines_and_search(caption: Run, cli: Run) -> None:
    caption("new", write=FORMATS)
    table = rows("t.csv")
    table["new/071.png"]["caption"], table["new/072.png"]["keywords"] = "Anna in Brunate", "Velo; Karte"
    with open("t.csv", "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, table["new/071.png"], delimiter=";")
        writer.writeheader()
        writer.writerows(table.values())
    done = caption("new", write=[*FORMATS, "xmp"])
    assert summary(done.err) == "captioned: 0; already captioned: 5; of these corrected by you: 2"
    lines = rows("t.jsonl")
    assert lines["new/071.png"]["caption"] == "Anna in Brunate"
    assert lines["new/072.png"]["keywords"] == [{"word": word, "share": 1.0} for word in ("Velo", "Karte")]
    assert "<rdf:li>Velo</rdf:li><rdf:li>Karte</rdf:li>" in Path("new/072.png.xmp").read_text()
    found = cli("search", "t.jsonl", "velo", "brunate").out.splitlines()
    assert {row.split("\t")[0] for row in found} == {"new/071.png", "new/072.png"}
    content = Path("t.jsonl").read_bytes()
    caption("new", write=FORMATS)
    assert Path("t.jsonl").read_bytes() == content


def test_unreadable_and_vanished_photographs_are_named_and_their_rows_stay(caption: Run) -> None:
    assert caption("new", "-v", write=["t.csv"]).out.startswith("new/070.png\t")
    Path("new/070.png").unlink()
    Path("new/broken.png").write_bytes(b"no photograph")
    done = caption("new", "new/070.png", write=["t.csv"])
    assert (done.code, done.out) == (1, "")
    assert summary(done.err) == "captioned: 0; already captioned: 4; unreadable: 2 (new/broken.png, new/070.png)"
    assert len(rows("t.csv")) == 5


def test_unreadable_photographs_do_not_count_as_captioned(caption: Run) -> None:
    caption("new", write=FORMATS)
    for name in ("070", "072", "074"):
        Path(f"new/{name}.png").write_bytes(b"no photograph")
    done = caption("new", "-n", 2, "--overwrite", write=FORMATS)
    assert summary(done.err) == "captioned: 2; unreadable: 2 (new/070.png, new/072.png)"
    assert [len(rows(table)) for table in FORMATS] == [5, 5]


WATCHED = """
import os, signal, sys, time
from captioner.photos.album import Album
act, number = sys.argv.pop(1), int(sys.argv.pop(1))
write, calls = Album.write, iter(range(1000))

def watched(album, *arguments):
    if next(calls) == number:
        exec(act)
    yield from write(album, *arguments)

Album.write = watched
from captioner.cli import main
main()
"""
"""Run a command, and act before the row of a photograph is written."""


@pytest.fixture
def many(album: Callable[..., Path], new_folder: Path) -> Path:
    """A folder of 60 photographs."""
    folder = album(Path("many"), 60).parent
    (folder / "captions.csv").unlink()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_and_the_printed_command_goes_on(number: int, shell: Run, photo_run: Path, many: Path) -> None:
    words = ["caption", many, "--model", photo_run, "--write"]
    assert shell(*words, "whole.csv").returncode == 0
    act = f"os.kill(os.getpid(), {number})"
    done = shell(act, 5, *words, "a b.csv", code=WATCHED)
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert "stopping after the photographs that are being read\n" in done.stderr
    (left, command) = re.search(r"stopped; photographs left: (\d+); resume with: (.+)\n\Z", done.stderr).groups()
    assert (len(rows("a b.csv")), 0 < int(left) < 55) == (60 - int(left), True)
    program, *again = shlex.split(command)
    assert program == "captioner"
    assert summary(shell(*again).stderr) == f"captioned: {left}; already captioned: {60 - int(left)}"
    assert content_of(Path("a b.csv")) == content_of(Path("whole.csv"))
    words[1:2] = [many / f"{number:03}.png" for number in range(60)] * 3
    done = shell(act, 5, *words, "c.csv", code=WATCHED)
    assert done.stderr.endswith("; resume with: the same command\n")


@pytest.mark.slow
def test_a_kill_loses_no_row_that_is_to_be_replaced(shell: Run, photo_run: Path, many: Path) -> None:
    words = ["caption", many, "--model", photo_run, "--write", "t.csv", "--write", "t.jsonl"]
    shell(*words)
    correct("t.csv", "many/030.png", "my own words")
    done = shell("os.kill(os.getpid(), 9)", 5, *words, "--overwrite", code=WATCHED)
    assert (done.returncode, len(rows("t.csv")), len(rows("t.jsonl"))) == (-9, 5, 5)
    assert summary(shell(*words).stderr) == "captioned: 0; already captioned: 60; of these corrected by you: 1"
    assert (len(rows("t.csv")), rows("t.csv")["many/030.png"]["caption"]) == (60, "my own words")
    assert len(rows("t.jsonl")) == 60


@pytest.mark.slow
def test_a_second_process_is_refused_until_the_first_is_killed(shell: Run, photo_run: Path, many: Path) -> None:
    words = ["caption", many, "--model", photo_run, "--write", "t.csv"]
    command = [sys.executable, "-c", WATCHED, "open('held', 'w'); time.sleep(60)", "5", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as first:
        while not Path("held").exists():
            time.sleep(0.01)
        before = Path("t.csv").read_bytes()
        done = shell(*words)
        first.kill()
        message = "captioner: t.csv: another process writes this table; wait for it, or use another file\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", message)
    assert Path(".t.csv.lock").exists()
    assert summary(shell(*words).stderr) == "captioned: 55; already captioned: 5"
    assert Path("t.csv").read_bytes().startswith(before)
    assert (len(rows("t.csv")), Path(".t.csv.lock").exists()) == (60, False)


@pytest.mark.slow
def test_a_terminal_has_a_bar_and_a_log_has_none(shell: Run, photo_run: Path, many: Path) -> None:
    words = ["caption", many, "--model", photo_run, "--write"]
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    assert shell(*words, "t.csv", stderr=follower).stdout == ""
    assert re.search(r"\d+%\|.*\| \d+/60 \[.*photograph", os.read(leader, 1 << 16).decode())
    log = shell(*words, "u.csv").stderr
    assert re.sub(r".* captions are .*\n", "", log) == "captioned: 60\nu.csv: 60 photographs\n"


def test_a_log_has_a_line_a_minute(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 0.0
    monkeypatch.setattr("tqdm.std.time", lambda: seconds)
    with output.progress(375, "photograph", in_log=True) as bar:
        for _ in range(45):
            seconds += 4
            bar.update()
    first, *others = capsys.readouterr().err.splitlines()
    assert first == "15 of 375 photographs, 0.2 per s, 24:00 left"
    assert len(others) == 2
