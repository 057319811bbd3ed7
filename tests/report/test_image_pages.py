"""HTML pages of images: names and captions are escaped, and the page is self-contained."""

import base64
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioner.errors import CaptionerError, DataError, UsageError
from captioner.report.image_pages import LARGE_SIDE, ImageEntry, write_entries

HOSTILE = "<script>alert('1')</script> & \"quoted\" onerror=x"
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)


class Parsed(HTMLParser):
    """The elements of a page, and its texts by enclosing element."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.setdefault(self.tags[-1], []).append(data)


def written(path: Path, *entries: ImageEntry) -> Parsed:
    write_entries(path, entries)
    return Parsed(path.read_text(encoding="utf-8"))


def picture(source: str | None) -> Image.Image:
    assert source is not None
    kind, _, data = source.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert kind == f"data:image/{(image.format or '').lower()}"
    return image


def test_pixels_are_embedded_losslessly(tmp_path: Path) -> None:
    page = written(
        tmp_path / "a.html", ImageEntry("one", PIXELS, ["a dog", "it runs"]), ImageEntry("two", PIXELS[:, :3], [])
    )
    assert [page.texts[tag] for tag in ("h2", "p")] == [["one", "two"], ["a dog", "it runs"]]
    assert [image["alt"] for image in page.images] == ["a dog", ""]
    np.testing.assert_array_equal(np.asarray(picture(page.images[0]["src"])), PIXELS)
    np.testing.assert_array_equal(np.asarray(picture(page.images[1]["src"])), PIXELS[:, :3])
    assert os.listdir(tmp_path) == ["a.html"]


def test_names_and_captions_are_escaped(tmp_path: Path) -> None:
    page = written(
        tmp_path / "a.html", ImageEntry(HOSTILE, PIXELS, [HOSTILE, "café 猫"]), ImageEntry(HOSTILE, None, [HOSTILE])
    )
    assert page.tags.count("script") == 0
    assert page.texts["h2"] == [HOSTILE, HOSTILE]
    assert page.texts["p"] == [HOSTILE, "café 猫", HOSTILE]
    assert [sorted(image) for image in page.images] == [["alt", "class", "src"]]
    assert page.images[0]["alt"] == HOSTILE


def test_the_page_has_no_external_resources_or_scripts(tmp_path: Path) -> None:
    page = written(tmp_path / "a.html", ImageEntry("one", PIXELS, ["a"]))
    text = (tmp_path / "a.html").read_text()
    assert not re.search(r"https?:|url\(|@import", text)
    assert not {"script", "iframe", "object"} & set(page.tags)
    assert re.findall(r"<link[^>]*>", text) == ['<link rel="icon" href="data:,">'], "no request for a favicon either"
    assert "default-src 'none'" in text


@pytest.mark.parametrize(
    ("size", "expected"), [((1600, 1200), (640, 480)), ((100, 50), (100, 50)), ((1, 6000), (1, 640))]
)
def test_large_photographs_are_scaled_down(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    Image.new("RGB", size, (200, 0, 0)).save(tmp_path / "a.png")
    page = written(tmp_path / "a.html", ImageEntry("one", tmp_path / "a.png", ["a"]))
    image = picture(page.images[0]["src"])
    assert image.size == expected
    assert max(image.size) <= LARGE_SIDE
    assert image.convert("RGB").getpixel((0, 0))[0] > 190  # type: ignore[index]


def test_an_unreadable_photograph_is_replaced_by_its_error(tmp_path: Path) -> None:
    bad = tmp_path / "<b>.jpg"
    bad.write_bytes(b"<i>no photograph")
    entries = [
        ImageEntry("a", bad, ["x"]),
        ImageEntry("b", tmp_path / "no.jpg", ["y"]),
        ImageEntry("c", None, []),
        ImageEntry("d", PIXELS, []),
    ]
    page = written(tmp_path / "a.html", *entries)
    first, second, third = page.texts["div"]
    assert first.startswith(f"{bad}: expected a photograph (")
    assert first.endswith("got a file that begins with b'<i>no photog'")
    assert second == f"{tmp_path / 'no.jpg'}: not found; expected a photograph; check the name"
    assert third == "photograph not found; give its folder with --images"
    assert not {"b", "i"} & set(page.tags)
    assert len(page.images) == 1
    assert page.texts["p"] == ["x", "y"]


def test_an_existing_page_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text("mine")
    requested = []

    def entries() -> Any:
        requested.append(1)
        yield ImageEntry("one", PIXELS, [])

    with pytest.raises(UsageError) as caught:
        write_entries(path, entries())
    assert str(caught.value) == f"{path}: exists already; name another file, or replace it with --overwrite"
    with pytest.raises(UsageError, match="expected an HTML page to replace, got something else; name another file"):
        write_entries(path, entries(), overwrite=True)
    assert path.read_text() == "mine"
    assert not requested
    path.write_text("<!DOCTYPE html><p>mine")
    write_entries(path, entries(), overwrite=True)
    assert Parsed(path.read_text()).texts["h2"] == ["one"]


def test_a_write_error_is_reported(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "no" / "a.html", f"folder not found: {tmp_path / 'no'}"),
        (tmp_path, "expected the name of a file, got a folder"),
    ):
        with pytest.raises(CaptionerError) as caught:
            write_entries(path, [], overwrite=True)
        assert str(caught.value) == f"{path}: {reason}"


def test_a_failure_keeps_the_old_page(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text("<!doctype html>mine")

    def entries() -> Any:
        yield ImageEntry("one", PIXELS, [])
        raise DataError("cut short")

    with pytest.raises(DataError):
        write_entries(path, entries(), overwrite=True)
    assert path.read_text() == "<!doctype html>mine"
    assert os.listdir(tmp_path) == ["a.html"]


def test_names_that_are_not_utf8_are_shown(tmp_path: Path) -> None:
    page = written(tmp_path / "a.html", ImageEntry(os.fsdecode(b"caf\xe9"), PIXELS, ["\ud800"]))
    assert page.texts["h2"] == ["caf?"]
    assert page.texts["p"] == ["?"]
