"""python -m benchmarks.album FOLDER: an album of 20,000 photographs, with five stops, corrections and a rename.

The photographs are those of FOLDER in copies with changed pixels. The times are those of commands that find nothing
new, and that until a browser shows the first photograph of `captioner serve`.
"""

from __future__ import annotations

import csv
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from PIL import Image

from benchmarks import machine
from benchmarks.results import Row, table

STOPS = (60, signal.SIGINT), (60, signal.SIGKILL), (50, signal.SIGTERM), (60, signal.SIGKILL), (60, signal.SIGINT)
"""Seconds, and the signal that then stops the command."""
CORRECTED = 50
"""Rows of the table that a person corrects after the third stop."""
FIRST = "return [...document.querySelectorAll('.cell img')].some((image) => image.complete && image.naturalWidth)"
PATH = click.Path(path_type=Path, exists=True)


def make(folder: Path, photographs: Path, count: int) -> None:
    """Write copies, each with two changed pixels, in folders of 1,000."""
    names = islice(cycle(sorted(folder.iterdir())), count)
    for number, name in enumerate(names):
        target = photographs / f"{number // 1000:02}" / f"{number:05}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.open(name).convert("RGB")
        picture.putpixel((number // 1000, 0), (255 - number // 1000, 3, 7))
        picture.putpixel((0, 1 + number // 1000), (9, 3, 200))
        picture.save(target, quality=88)


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "captioner", *map(str, words)]


def timed(*words: object) -> tuple[float, float, float]:
    """Return the seconds, the CPU seconds and the peak MiB of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(command(*words), stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def correct(file: Path) -> None:
    """Correct captions as a spreadsheet does."""
    with open(file, newline="", encoding="utf-8-sig") as lines:
        rows = [*csv.DictReader(lines)]
    for number, row in enumerate(rows[:CORRECTED]):
        row["caption"] = f"my words {number}"
    with open(file, "w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def first_screen(album: Path, profile: Path) -> float:
    """Return the seconds from opening the page to its first photograph, without thumbnails from before."""
    sys.path[:0] = [str(Path(__file__).parents[1] / "tests")]
    from browser import started

    with subprocess.Popen(command("serve", "--port", 0, "--album", album), stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        try:
            with started(profile) as browser:
                began = time.perf_counter()
                browser.open(url)
                while not browser.driver.execute_script(FIRST):
                    time.sleep(0.01)
                return time.perf_counter() - began
        finally:
            server.terminate()


def runs(work: Path, photographs: Path) -> Iterator[Row]:
    """Caption, stop, correct and rename, and yield the rows of the table. Raises: AssertionError for what is lost."""
    album, written = work / "album.db", work / "captions.csv"
    words = "caption", photographs, "--album", album, "--write", written
    for number, (seconds, stop) in enumerate(STOPS):
        process = subprocess.Popen(command(*words), stderr=subprocess.DEVNULL)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(stop)
            process.wait()
        if number == 2:
            correct(written)
            (photographs / "00").rename(photographs / "renamed")
    yield "the rest, after five stops", *map("{:.1f}".format, timed(*words))
    yield "nothing new, `--write captions.csv`", *map("{:.1f}".format, timed(*words))
    yield "nothing new, `--write album.html`", *map("{:.1f}".format, timed(*words[:-1], work / "album.html"))
    yield "`captioner serve`: first photograph", f"{first_screen(album, work / 'profile'):.2f}", "", ""
    with closing(sqlite3.connect(album)) as database, database:
        counts = "SELECT (SELECT count(*) FROM caption), count(*), count(correction) FROM photograph"
        captions, count, corrections = database.execute(counts).fetchone()
        places = database.execute("SELECT count(*) FROM place").fetchone()[0]
    files = sum(len(names) for _, _, names in os.walk(photographs))
    assert captions == count == places == files
    assert corrections == CORRECTED


@click.command()
@click.argument("folder", type=PATH)
@click.option("--count", default=20_000)
def main(folder: Path, count: int) -> None:
    """Print the table of docs/caption-photos.md."""
    with TemporaryDirectory() as name:
        make(folder, Path(name, "photographs"), count)
        rows = [*runs(Path(name), Path(name, "photographs"))]
    print(machine.cpu(), table("command | s | CPU s | peak MiB", rows), sep="\n")


if __name__ == "__main__":
    main()
