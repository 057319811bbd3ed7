"""captioner caption: an album that knows what was captioned and corrected, files, signals, kills, and progress."""

import csv
import os
import pty
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import termios
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from captioner.cli import output
from captioner.data.table_cells import unescape_path

Run = Callable[..., Any]
RAW = os.fsdecode(b"\xe9.png")
NAMES = ["a\nb.png", RAW, "a\\x41.png", "=1+1.png", "-a.png", "@a.png", "'=a.png", 'a"b.png', " a .png", "é猫.png"]


@pytest.fixture
def caption(cli: Run, photo_run: Path, new_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command with an album, and a model of the new photographs 070.png to 074.png in `new`."""
    monkeypatch.setenv("CAPTIONER_ALBUM", "a.db")
    return lambda *words, write=(): cli(
        "caption", *words, "--model", photo_run, *(word for path in write for word in ("--write", path))
    )


def rows(path: Path | str) -> dict[str, dict[str, Any]]:
    """The rows of a table by image; an image has one row."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        delimiter = ";" if ";" in file.readline() else ","
        file.seek(0)
        table: list[dict[str, Any]] = list(csv.DictReader(file, delimiter=delimiter))
    found = {row["image"]: row for row in table}
    assert len(found) == len(table)
    return found


def correct(path: str, image: str, **values: str) -> None:
    """Replace cells of a row, as a person does."""
    table = rows(path)
    table[image].update(values)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, table[image], delimiter=";")
        writer.writeheader()
        writer.writerows(table.values())


def summary(err: str) -> str:
    return next(line for line in err.splitlines() if line.startswith("captioned: "))


def test_a_photograph_is_captioned_once_wherever_its_file_is(caption: Run) -> None:
    done = caption("new")
    assert done.err == "captions and corrections are kept in a.db (--album none: not)\n"
    lines = done.out.splitlines()
    assert caption("new") == (0, done.out, "captioned: 0; already captioned: 5\n")
    os.utime("new/070.png", (1, 1))
    Path("new/071.png").write_bytes(Path("new/071.png").read_bytes() + b"\0")  # metadata: the picture is the same
    shutil.copy("new/072.png", "new/075.png")
    Path("new/073.png").rename("moved.png")
    shutil.copy("new/070.png", "new/074.png")  # another picture in its place
    done = caption("new", "moved.png")
    assert summary(done.err) == "captioned: 0; already captioned: 6"
    texts = dict(line.split("\t")[:2] for line in done.out.splitlines())
    old = dict(line.split("\t")[:2] for line in lines)
    assert texts == {
        **{name: old[name] for name in ("new/070.png", "new/071.png", "new/072.png")},
        "new/074.png": old["new/070.png"], "new/075.png": old["new/072.png"], "moved.png": old["new/073.png"],
    }  # fmt: skip
    os.rename("new", "renamed")
    assert summary(caption("renamed").err) == "captioned: 0; already captioned: 5"
    assert summary(caption("renamed", "--recaption", "-n", 3, write=["t.csv"]).err) == "captioned: 3"


def test_a_photograph_has_one_row_however_it_is_named(caption: Run) -> None:
    Path("link").symlink_to("new")
    names = ("new", "./new/../new/070.png", "link", Path.cwd() / "new" / "071.png")
    assert summary(caption(*names, write=["t.csv"]).err) == "captioned: 5"
    assert summary(caption(*names, write=["t.csv"]).err) == "captioned: 0; already captioned: 5"
    Path("elsewhere").mkdir()
    shutil.move("new", "elsewhere/new")
    Path("new").symlink_to("elsewhere/new")
    assert summary(caption("new", "elsewhere", write=["t.csv"]).err) == "captioned: 0; already captioned: 5"
    assert rows("t.csv").keys() == {f"elsewhere/new/07{number}.png" for number in range(5)}


def test_names_of_all_kinds_are_known_again(caption: Run) -> None:
    for number, name in enumerate(NAMES):
        shutil.copy(f"new/07{number % 5}.png", f"new/{name}")
    Path("tables").mkdir()
    caption("new", write=["tables/t.csv"])
    assert summary(caption("new", write=["tables/t.csv"]).err) == "captioned: 0; already captioned: 15"
    expected = {f"../new/{name}" for name in os.listdir("new")}
    assert {unescape_path(image) for image in rows("tables/t.csv")} == expected


def test_a_correction_follows_a_rename_and_reaches_every_file(caption: Run, cli: Run) -> None:
    caption("new", write=["t.csv"])
    own = rows("t.csv")["new/071.png"]["generated_caption"]
    correct("t.csv", "new/071.png", caption="Anna in Brunate")
    os.rename("new", "neu")
    done = caption("neu", write=["u.csv", "p.html", "xmp", "exiftool.csv"])  # t.csv is not named
    assert done.err.splitlines()[0] == f"{Path.cwd()}/t.csv: 1 correction"
    assert summary(done.err) == "captioned: 0; already captioned: 5; corrected by you: 1"
    row = rows("u.csv")["neu/071.png"]
    assert (row["caption"], row["generated_caption"]) == ("Anna in Brunate", own)
    assert ">Anna in Brunate<" in Path("neu/071.png.xmp").read_text()
    assert '"./neu/071.png","Anna in Brunate"' in Path("exiftool.csv").read_text()
    assert '"caption":"Anna in Brunate"' in Path("p.html").read_text()
    assert cli("search", "brunate").out == "neu/071.png\tAnna in Brunate\tbrunate\n"
    correct("u.csv", "neu/071.png", keywords="Velo; Karte")
    assert caption("neu", "--recaption", write=["u.csv"]).code == 0
    row = rows("u.csv")["neu/071.png"]
    assert (row["caption"], row["keywords"], row["generated_caption"]) == ("Anna in Brunate", "Velo, Karte", own)
    assert cli("search", "karte").out.startswith("neu/071.png\t")


def test_a_table_keeps_what_it_had(caption: Run) -> None:
    shutil.copytree("new", "more")
    for number in range(5):
        Path(f"more/07{number}.png").write_bytes(b"no photograph" if number else Path("new/070.png").read_bytes())
    caption("new", write=["t.csv"])
    assert caption("more", write=["t.csv"]).code == 1
    assert rows("t.csv").keys() == {f"new/07{number}.png" for number in range(5)} | {"more/070.png"}


def test_captions_of_another_model_are_counted_and_replaced_if_asked(caption: Run) -> None:
    first = caption("new").out
    done = caption("new", "-o", "decode.max_length=1")
    assert done.out == first
    other = "5 captions are of another model or other options; --recaption replaces them, and keeps corrections\n"
    assert done.err.endswith(other)
    assert caption("new/070.png", "-o", "decode.max_length=1").err == other.replace("5 captions are", "1 caption is")
    again = caption("new", "-o", "decode.max_length=1", "--recaption")
    assert (again.err, again.out == first) == ("", False)
    assert caption("new").out == again.out


def test_candidates_that_are_asked_for_are_added_once(caption: Run) -> None:
    caption("new")
    done = caption("new/070.png", "--n-best", 3)
    assert len(done.out.splitlines()) == 3
    for number in (2, 1):
        shown = caption("new/070.png", "--n-best", number).out.splitlines()
        assert shown == done.out.splitlines()[:number]


def test_without_an_album_nothing_is_kept(caption: Run) -> None:
    for _ in range(2):
        done = caption("new", "--album", "none", write=["t.csv"])
        assert summary(done.err) == "captioned: 5"
    assert not Path("a.db").exists()


def test_a_home_that_cannot_be_written_costs_only_the_album(caption: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIONER_ALBUM", "/sys/a.db")
    done = caption("new", write=["t.csv"])
    assert (done.code, len(rows("t.csv"))) == (0, 5)
    assert re.match(r"captioner: /sys/a.db: .*; captions are not kept\n", done.err)
    caption("new", "--album", "/sys/a.db").failed(1, "/sys/a.db: ")


def test_parts_cover_a_folder_once_and_are_joined(caption: Run, cli: Run) -> None:
    for number in range(2):
        shutil.copytree("new", f"album/{number}")
    for part, code in ("1/2", 1), ("2/2", 0):  # the error of a name belongs to the first part
        done = caption("album", "http://x/a.jpg", "--part", part, "--album", f"{part[0]}.db", write=[f"{part[0]}.csv"])
        assert done.code == code
    assert (rows("1.csv").keys() & rows("2.csv").keys(), len({**rows("1.csv"), **rows("2.csv")})) == (set(), 10)
    assert (
        cli("album", "--album", "all.db", "--add", "1.db", "--add", "2.db")
        .out.splitlines()[1]
        .startswith("files: 10; missing: 0;")
    )
    caption("album", "--part", "3/2").failed(2, "expected I/N with I from 1 to N, such as 2/8, got 3/2")


def test_a_file_that_is_no_export_is_refused_before_anything_is_captioned(caption: Run) -> None:
    Path("budget.csv").write_text("month,euros\n1,2\n")
    caption("new", write=["other.csv", "budget.csv"]).failed(2, "budget.csv: expected a table of `captioner caption`")
    os.mkfifo("pipe.csv")
    Path("link.csv").symlink_to("nowhere.csv")
    for name in ("pipe.csv", "link.csv"):
        caption("new", write=[name]).failed(2, f"{name}: expected a file to replace, got something else")
    caption("new", write=["missing/t.csv"]).failed(2, "missing/t.csv: folder not found: missing")
    caption("new", write=["/sys/t.csv"]).failed(1, "/sys/t.csv: cannot write: ")  # a folder that root cannot write
    with closing(sqlite3.connect("a.db")) as database, database:
        assert database.execute("SELECT count(*) FROM caption").fetchone() == (0,)


def test_a_full_disk_on_stdout_costs_no_file(photo_run: Path, new_folder: Path, shell: Run) -> None:
    command = ("caption", "new", "--model", photo_run, "--json", "--write", "t.csv", "--write", "t.html")
    with open("/dev/full", "w") as full:
        done = shell(*command, stdout=full, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert (done.returncode, done.stderr.count("captioner: output: No space left on device\n")) == (1, 1)
    assert (len(rows("t.csv")), os.path.exists("t.html")) == (5, True)


def test_a_full_disk_costs_one_file(
    caption: Run, files_of_at_most: Callable[[int], AbstractContextManager[None]]
) -> None:
    caption("new", write=["whole.csv"])
    correct("whole.csv", "new/070.png", caption="x" * 500_000)
    caption("new", write=["whole.csv"])
    with files_of_at_most(os.path.getsize("whole.csv") // 2):
        done = caption("new", write=["t.csv", "t.html", "whole.csv"])
    assert (done.code, done.err.count("cannot write: File too large")) == (1, 3)
    assert not os.path.exists("t.csv")
    assert len(rows("whole.csv")["new/070.png"]["caption"]) == 500_000


def test_unreadable_and_vanished_photographs_are_named_and_stay_in_the_album(caption: Run) -> None:
    assert caption("new", "-v", write=["t.csv"]).out.startswith("new/070.png\t")
    Path("new/070.png").unlink()
    for name in ("broken", "071"):
        Path(f"new/{name}.png").write_bytes(b"no photograph")
    done = caption("new", "new/070.png", write=["t.csv"])
    assert (done.code, done.out) == (1, "")
    unreadable = "unreadable: 3 (new/071.png, new/broken.png, new/070.png)"
    assert summary(done.err) == f"captioned: 0; already captioned: 3; {unreadable}"
    assert len(rows("t.csv")) == 5
    done = caption("new", "-n", 2, "--recaption", write=["t.csv"])
    assert summary(done.err) == "captioned: 2; unreadable: 1 (new/071.png)"


WATCHED = """
import os, signal, sys, time
from captioner.photos.album import Album
act, number = sys.argv.pop(1), int(sys.argv.pop(1))
locate, calls = Album.locate, iter(range(1000))

def watched(album, *arguments):
    if next(calls) == number:
        exec(act)
    return locate(album, *arguments)

Album.locate = watched
from captioner.cli import main
main()
"""
"""Run a command, and act before a photograph is added to the album."""


@pytest.fixture
def many(album: Callable[..., Path], new_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 60 photographs."""
    monkeypatch.setenv("CAPTIONER_ALBUM", "a.db")
    folder = album(Path("many"), 60).parent
    (folder / "captions.csv").unlink()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_and_the_printed_command_goes_on(number: int, shell: Run, photo_run: Path, many: Path) -> None:
    words = ["caption", many, "--model", photo_run, "--write"]
    assert shell(*words, "whole.csv", "--album", "b.db").returncode == 0
    act = f"os.kill(os.getpid(), {number})"
    done = shell(act, 5, *words, "a b.csv", code=WATCHED)
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert "stopping after the photographs that are being read\n" in done.stderr
    (left, command) = re.search(r"stopped; photographs left: (\d+); resume with: (.+)\n\Z", done.stderr).groups()
    assert (len(rows("a b.csv")), 0 < int(left) < 60) == (60 - int(left), True)
    program, *again = shlex.split(command)
    assert program == "captioner"
    assert summary(shell(*again).stderr) == f"captioned: {left}; already captioned: {60 - int(left)}"
    without_album = partial(re.sub, rb"-[0-9a-f]{6}", b"")
    assert without_album(Path("a b.csv").read_bytes()) == without_album(Path("whole.csv").read_bytes())
    words[1:2] = [many / f"{number:03}.png" for number in range(60)] * 3
    done = shell(act, 5, *words, "c.csv", "--recaption", code=WATCHED)
    assert done.stderr.endswith("; resume with: the same command\n")


@pytest.mark.slow
def test_a_kill_loses_at_most_a_second(shell: Run, photo_run: Path, many: Path) -> None:
    words = ["caption", many, "--model", photo_run, "--write", "t.csv"]
    later = "time.monotonic = lambda now=time.monotonic(): now + 2"
    done = shell(f"{later}; locate(album, *arguments); os.kill(os.getpid(), 9)", 39, *words, code=WATCHED)
    assert (done.returncode, os.path.exists("t.csv")) == (-9, False)
    assert summary(shell(*words).stderr) == "captioned: 20; already captioned: 40"
    correct("t.csv", f"{many}/030.png", caption="my own words")
    assert shell("os.kill(os.getpid(), 9)", 5, *words, "--recaption", code=WATCHED).returncode == -9
    assert summary(shell(*words).stderr) == "captioned: 0; already captioned: 60; corrected by you: 1"
    assert rows("t.csv")[f"{many}/030.png"]["caption"] == "my own words"


@pytest.mark.slow
def test_two_processes_share_an_album(shell: Run, photo_run: Path, many: Path) -> None:
    command = [sys.executable, "-m", "captioner", "caption", str(many), "--model", str(photo_run), "--write"]
    both = [subprocess.Popen([*command, f"{n}.csv"], stderr=subprocess.PIPE, text=True) for n in range(2)]
    assert ["Traceback" in process.communicate(timeout=300)[1] for process in both] == [False, False]
    assert [process.returncode for process in both] == [0, 0]
    assert rows("0.csv") == rows("1.csv")
    assert len(rows("0.csv")) == 60


def read_terminal(leader: int) -> str:
    """Return all that is written to a terminal until nobody can write to it."""
    text = b""
    with suppress(OSError):  # the end of a terminal
        while part := os.read(leader, 1 << 16):
            text += part
    os.close(leader)
    return text.decode(errors="replace")


@pytest.mark.slow
def test_a_terminal_has_a_bar_and_a_log_has_none(shell: Run, photo_run: Path, many: Path) -> None:
    words = ["caption", many, "--model", photo_run, "--write"]
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    with ThreadPoolExecutor(1) as pool:  # a process that writes to a full terminal waits until it is read
        drawn = pool.submit(read_terminal, leader)
        assert shell(*words, "t.csv", stderr=follower).stdout == ""
        os.close(follower)
    assert re.search(r"\d+%\|.*\| \d+/60 \[.*photograph", drawn.result())
    log = shell(*words, "u.csv", "--recaption").stderr
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
