"""Write the pictures of the documentation: screenshots of pages about runs on generated scenes, in Chromium.

Those of docs/models.md:

$ captioner train -c scenes-attention -o validate.score_every=1
$ python docs/screenshots.py report runs/scenes-attention

Those of docs/course/architectures.md, which has the commands that train these runs:

$ python docs/screenshots.py course runs/attention runs/transformer

The web page in the README:

$ python docs/screenshots.py serve models/everyday.h5
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent / "tests"), str(DOCS.parent / "tests" / "serve")]

from browser import Browser, started  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402
from serving import served  # noqa: E402

from captioner.report.page import write_report  # noqa: E402

WIDTH, NARROW, GAP, COLOURS = 1180, 760, 14, 256
FOCUS = """
const words = document.querySelectorAll(".entries li.entry")[arguments[0]].querySelectorAll(".word");
const word = [...words].find((button) => button.textContent.trim() === arguments[1]);
word.focus();
"""
LOADED = """
const images = [...document.querySelectorAll(".cell img")].slice(0, 6);
return images.length === 6 && images.every((image) => image.complete);
"""
HIDE = "for (const element of document.querySelectorAll(arguments[0])) element.style.display = 'none';"
BOX = """
const elements = arguments[0].flatMap((selector) => [...document.querySelectorAll(selector)]);
const boxes = elements.map((element) => element.getBoundingClientRect());
return [Math.min(...boxes.map((b) => b.left)), Math.min(...boxes.map((b) => b.top)) + scrollY,
        Math.max(...boxes.map((b) => b.right)), Math.max(...boxes.map((b) => b.bottom)) + scrollY];
"""


class Shot(NamedTuple):
    """A picture: the elements that it shows, those hidden before, and how the page is viewed."""

    name: str
    page: str
    shown: list[str]
    hidden: str = ".none"
    width: int = WIDTH
    focus: tuple[int, str] | None = None


SHOTS = (
    Shot("report", "run", ["header", "section:nth-of-type(2)"], "section:first-of-type, .chart:nth-child(n+7)"),
    Shot("report-attention", "run", [".entries > li:nth-child(2)"], ".entries > li:first-child", focus=(1, "circle")),
)
COURSE = (
    Shot("course/attention-lstm", "first", [".entries > li"], "summary", width=NARROW),
    Shot("course/attention-transformer", "second", [".entries > li"], "summary", width=NARROW),
)


def report(folder: Path, run: Path) -> dict[str, Path]:
    """Write the report of a run."""
    page = folder / "run.html"
    write_report(page, run, split="heldout")
    return {"run": page}


def course(folder: Path, first: Path, second: Path) -> dict[str, Path]:
    """Write the attention maps of two runs."""
    pages = {"first": folder / "first.html", "second": folder / "second.html"}
    for run, page in zip((first, second), pages.values(), strict=True):
        subprocess.run(
            [sys.executable, "-m", "captioner", "sample", run, "--split", "heldout", "-n", "1", "--write", page],
            check=True,
        )
    return pages


PAGE = Shot("serve", "page", ["main"], ".cards > li:nth-child(n+7)", width=NARROW + 200)


def serve(model: Path) -> None:
    """Write the picture of the web page with an album of the photographs of the README."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--album", str(Path(folder, "album.db")))
        command = [sys.executable, "-m", "captioner", "caption", str(DOCS / "photos"), "--model", str(model), *options]
        subprocess.run(command, check=True)
        with served(model, *options) as server, started(Path(folder, "profile")) as browser:
            browser.view(width=PAGE.width)
            browser.open(server.url)
            WebDriverWait(browser.driver, 60).until(lambda driver: driver.execute_script(LOADED))
            capture(browser, PAGE)


PICTURES = {"report": (report, SHOTS), "course": (course, COURSE)}
"""How the pages of a part of the documentation are written, and their pictures."""


def main(part: str, *runs: str) -> None:
    """Write the pages of runs, and the pictures of their parts; or the picture of the web page."""
    if part == "serve":
        serve(*map(Path, runs))
        return
    write_pages, shots = PICTURES[part]
    with tempfile.TemporaryDirectory() as folder:
        pages = write_pages(Path(folder), *map(Path, runs))
        with started(Path(folder, "profile")) as browser:
            for shot in shots:
                write(browser, pages[shot.page], shot)


def write(browser: Browser, page: Path, shot: Shot) -> None:
    """Write one picture."""
    browser.view(width=shot.width, height=900)
    browser.open(page)
    capture(browser, shot)


def capture(browser: Browser, shot: Shot) -> None:
    """Write a picture of the open page."""
    browser.driver.execute_script(HIDE, shot.hidden)
    if shot.focus is not None:
        browser.driver.execute_script(FOCUS, *shot.focus)
    height = browser.driver.execute_script("return document.documentElement.scrollHeight")
    browser.view(width=shot.width, height=height)
    left, top, right, bottom = (round(edge) for edge in browser.driver.execute_script(BOX, shot.shown))
    box = (max(0, left - GAP), max(0, top - GAP), min(shot.width, right + GAP), min(height, bottom + GAP))
    picture = Image.open(io.BytesIO(browser.driver.get_screenshot_as_png())).convert("RGB").crop(box)
    few: Any = picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(DOCS / f"{shot.name}.png", optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
