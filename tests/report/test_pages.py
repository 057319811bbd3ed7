"""Pages as HTML: untrusted texts are escaped, nothing is loaded, pictures are embedded, tables are counted by hand."""

import base64
import hashlib
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioner.captioning.caption import Attention, Candidate, Caption
from captioner.errors import CaptionerError, DataError, UsageError
from captioner.report.chart import Series, curves, draw
from captioner.report.facts import Figure, History, RunFacts, ScoreTables, Table
from captioner.report.gallery import LARGE_SIDE, Gallery, GalleryEntry, ImageEntry, Scored, write_entries
from captioner.report.page import ReportPage, render_page
from captioner.report.pictures import Embedded, Overlay, WordMap

HOSTILE = "</script><script>alert('1')</script>\"><img src=x onerror=alert(2)>'{{ 7 * 7 }}猫"
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)


class Elements(HTMLParser):
    """The elements of a page with their attributes, its text, and its texts by enclosing element."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.texts: dict[str, list[str]] = {}
        self.feed(page.decode())
        self.close()

    @property
    def images(self) -> list[dict[str, str | None]]:
        """The attributes of the images."""
        return [attributes for tag, attributes in self.elements if tag == "img"]

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data
        if data.strip():
            self.texts.setdefault(self.elements[-1][0], []).append(data)


def report_of(text: str) -> bytes:
    """Render a report with this text wherever a run or a data set has text."""
    warning = {"step": 1, "problem": text}
    facts = RunFacts(text, History([], [], [warning]), text, {"decoder": text}, {"steps": text})
    picture = Embedded("data:image/png;base64,AA==", 64, 64)
    word = WordMap(text, [Overlay(0.5, "M0 0h1v1h-1z")], 0, 0, 0.5, 0.25)
    attention = Attention([text], np.ones((1, 2)), (1, 1))
    caption = Caption(text, text, -1.0, [text] * 5, True, [Candidate(text, -1.0)] * 2, attention)
    entry = GalleryEntry(0, caption, picture, [word], Scored(0.5, "best"))
    table = Table(text, [text], [[text, text]])
    chart = draw(text, text, [Series(text, [(1, 1)]), Series(text, [(1, 1)])])
    assert chart is not None
    return render_page(
        ReportPage(
            run=facts,
            curves=[chart],
            figures=[Figure(text, text, text)],
            data=table,
            scores=ScoreTables(text, table, table),
            gallery=Gallery(text, [entry, entry._replace(picture=None), entry._replace(words=[])], 1),
        )
    )


def test_a_warning_about_captions_is_beside_the_curve_that_shows_it() -> None:
    validation = {"step": 4, "loss": 2.0, "perplexity": 7.4}
    warning = {"step": 4, "collapse": "identical", "problem": "the same caption"}
    for records, chart in (([validation], "Loss"), ([{**validation, "scores": {"cider_d": 0.1}}], "CIDEr-D")):
        facts = RunFacts("a", History([], records, [warning]), "", training={"steps": "4"})
        page = ReportPage(facts, curves(facts.history))
        (figure,) = [figure for figure in render_page(page).decode().split("<figure") if "same caption" in figure]
        assert f"<h3>{chart}</h3>" in figure


def images_of(folder: Path, *entries: ImageEntry) -> bytes:
    """Write a page of images, and return its content."""
    write_entries(folder / "a.html", entries, overwrite=True)
    return (folder / "a.html").read_bytes()


def image_page(folder: Path, text: str) -> bytes:
    """Write a page of images with this text wherever a data set has text."""
    return images_of(folder, ImageEntry(text, PIXELS, [text, text]), ImageEntry(text, None, [text]))


@pytest.mark.parametrize("kind", ["report", "images"])
def test_untrusted_texts_are_escaped_everywhere(kind: str, tmp_path: Path) -> None:
    plain, hostile = (
        Elements(report_of(text) if kind == "report" else image_page(tmp_path, text)) for text in ("plain", HOSTILE)
    )
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in plain.elements]
    assert [sorted(attributes) for _, attributes in hostile.elements] == [sorted(attrs) for _, attrs in plain.elements]
    assert hostile.text.count(HOSTILE) == plain.text.count("plain") > (30 if kind == "report" else 4)
    if kind == "images":
        assert [(image["alt"], sorted(image)) for image in hostile.images] == [(HOSTILE, ["alt", "class", "src"])]


@pytest.mark.parametrize("kind", ["report", "images"])
def test_control_characters_are_escaped_everywhere(kind: str, tmp_path: Path) -> None:
    """Among them those that reverse the direction of text, so that a name ends with another suffix."""
    text = "a\x00b\x1b[2Jc\u202egpj.exe\udcff\x85"
    page = (report_of(text) if kind == "report" else image_page(tmp_path, text)).decode()
    assert [line for line in page.split("\n") if not line.isprintable()] == []
    assert Elements(page.encode()).text.count(r"a\x00b\x1b[2Jc\u202egpj.exe\udcff\x85") > 4


def test_spaces_and_soft_hyphens_are_characters_of_a_text(tmp_path: Path) -> None:
    text = "10\xa0km\tand\u3000a soft\xadhyphen"
    assert Elements(image_page(tmp_path, text)).text.count(text) > 4


def test_only_its_own_script_may_run(tmp_path: Path) -> None:
    page = report_of(HOSTILE)
    (script,) = re.findall(r"<script>(.*?)</script>", page.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    common = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    for content, policy in (
        (page, f"{common}; script-src 'sha256-{digest}'"),
        (image_page(tmp_path, HOSTILE), common),
    ):
        assert [attrs["content"] for _, attrs in Elements(content).elements if attrs.get("http-equiv")] == [policy]


def test_nothing_is_loaded(tmp_path: Path) -> None:
    pages = report_of("plain").decode(), image_page(tmp_path, "plain").decode()
    for pattern in (r"https?:", r"url\(", "@import", r'src="(?!data:)', r'href="(?!#|data:)'):
        assert not any(re.search(pattern, page) for page in pages), pattern
    assert re.findall(r"<link[^>]*>", pages[0]) == ['<link rel="icon" href="data:,">'], "no request for a favicon"
    assert not {"script", "iframe", "object"} & {tag for tag, _ in Elements(pages[1].encode()).elements}


def test_sections_without_content_are_omitted() -> None:
    facts = RunFacts("a", History([], [], []), "", {}, {"steps": "0"})
    page = Elements(render_page(ReportPage(facts)))
    assert [attributes["id"] for tag, attributes in page.elements if tag == "h2"] == ["setup"]
    assert "All options have their defaults." in page.text


# --- pages of images


def picture(source: str | None) -> Image.Image:
    assert source is not None
    kind, _, data = source.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert kind == f"data:image/{(image.format or '').lower()}"
    return image


def test_pixels_are_embedded_losslessly(tmp_path: Path) -> None:
    entries = ImageEntry("one", PIXELS, ["a dog", "it runs"]), ImageEntry("two", PIXELS[:, :3], [])
    page = Elements(images_of(tmp_path, *entries))
    assert [page.texts[tag] for tag in ("h2", "p")] == [["one", "two"], ["a dog", "it runs"]]
    assert [image["alt"] for image in page.images] == ["a dog", ""]
    np.testing.assert_array_equal(np.asarray(picture(page.images[0]["src"])), PIXELS)
    np.testing.assert_array_equal(np.asarray(picture(page.images[1]["src"])), PIXELS[:, :3])
    assert os.listdir(tmp_path) == ["a.html"]


@pytest.mark.parametrize(
    ("size", "expected"), [((1600, 1200), (640, 480)), ((100, 50), (100, 50)), ((1, 6000), (1, 640))]
)
def test_large_photographs_are_scaled_down(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    Image.new("RGB", size, (200, 0, 0)).save(tmp_path / "a.png")
    page = Elements(images_of(tmp_path, ImageEntry("one", tmp_path / "a.png", ["a"])))
    image = picture(page.images[0]["src"])
    assert image.size == expected
    assert max(image.size) <= LARGE_SIDE
    assert image.convert("RGB").getpixel((0, 0))[0] > 190  # type: ignore[index]


def test_an_unreadable_photograph_is_replaced_by_its_error(tmp_path: Path) -> None:
    bad = tmp_path / "<b>.jpg"
    bad.write_bytes(b"<i>no photograph")
    pictures = [bad, tmp_path / "no.jpg", None, PIXELS]
    page = Elements(images_of(tmp_path, *(ImageEntry("a", picture, ["x"]) for picture in pictures)))
    first, second, third = page.texts["div"]
    assert first.startswith(f"{bad}: expected a photograph (")
    assert first.endswith("got a text file")
    assert second == f"{tmp_path / 'no.jpg'}: not found; expected a photograph; check the name"
    assert third == "photograph not found; give its folder with --images"
    assert not {"b", "i"} & {tag for tag, _ in page.elements}
    assert len(page.images) == 1
    assert page.texts["p"] == ["x"] * 4


def test_only_a_page_is_overwritten_and_only_by_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text("mine")

    def entries(error: Exception | None) -> Any:
        yield ImageEntry("one", PIXELS, [])
        if error is not None:
            raise error

    unread = entries(DataError("read before the check"))
    with pytest.raises(UsageError, match=r"a\.html: exists already; .* --overwrite"):
        write_entries(path, unread)
    with pytest.raises(UsageError, match="expected an HTML page to replace, got something else; name another file"):
        write_entries(path, unread, overwrite=True)
    assert path.read_text() == "mine"
    path.write_text("<!DOCTYPE html>mine")
    with pytest.raises(DataError, match="cut short"):
        write_entries(path, entries(DataError("cut short")), overwrite=True)
    assert path.read_text() == "<!DOCTYPE html>mine"
    write_entries(path, entries(None), overwrite=True)
    assert Elements(path.read_bytes()).texts["h2"] == ["one"]
    assert os.listdir(tmp_path) == ["a.html"]


def test_a_write_error_is_reported(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "no" / "a.html", "folder not found: .*no"),
        (tmp_path, "expected .* got a folder"),
    ):
        with pytest.raises(CaptionerError, match=reason):
            write_entries(path, [], overwrite=True)
