"""The album page: what its file contains, and in a real browser what a person sees, finds and copies."""

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import HOLD_TIMERS, Browser
from eventually import eventually
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from captioner.captioning.caption import MARKS, Caption, from_record
from captioner.photos.album import Entry
from captioner.photos.album_page import is_album_page, write_album_page

slow = pytest.mark.slow
HOSTILE = "</script><script>document.title = 'owned'</script><img src=x onerror=alert(1)>\u202e\ud800 <!-- \u2028"


def record(caption: str, **values: Any) -> dict[str, Any]:
    plain = {"image": "", "log_prob": -1.0, "references": [], "correct": None, "familiarity": None, "similarity": 0.5}
    return {**plain, "caption": caption, "keywords": [], "marks": [], **values}


def entry(path: Path, values: dict[str, Any]) -> Entry:
    """The entry of a photograph with a record, whose caption is that of a person if it is `corrected`."""
    generated: Caption = from_record(values)
    is_corrected = values.get("corrected", False)
    words = [keyword.word for keyword in generated.keywords]
    return Entry(path, "p0", generated, (generated.text, words) if is_corrected else None, "m")


def photo(path: Path) -> Path:
    Image.new("RGB", (40, 20), "teal").save(path)
    return path


def open_album(browser: Browser, folder: Path, records: list[dict[str, Any]]) -> None:
    """Open the page of records that share a photograph."""
    picture = photo(folder / "x.png")
    write_album_page(folder / "album.html", [entry(picture, each) for each in records])
    browser.open(folder / "album.html")


def found(browser: Browser, selector: str) -> list[Any]:
    return browser.driver.find_elements(By.CSS_SELECTOR, selector)


def search(browser: Browser, query: str) -> str:
    """Search, and return how many photographs the page reports."""
    field = found(browser, "#query")[0]
    field.clear()
    field.send_keys(query)
    return browser.texts("[role=status]")[0]


def wait_for_captions(browser: Browser, expected: list[str]) -> None:
    """Wait for the captions of the first photographs."""
    eventually(lambda: browser.texts("h2")[:60] == expected)


def test_only_an_album_page_or_an_empty_file_may_be_replaced(tmp_path: Path) -> None:
    page, foreign, empty = tmp_path / "album.html", tmp_path / "foreign.html", tmp_path / "empty.html"
    assert write_album_page(page, []).endswith(": 0 photographs; open it in a browser")
    foreign.write_text("<!doctype html>\n<title>Mine</title>")
    empty.touch()
    assert is_album_page(page)
    assert is_album_page(empty)
    assert not any(map(is_album_page, (foreign, tmp_path, tmp_path / "missing")))


def test_entries_are_written_as_they_are_read(tmp_path: Path) -> None:
    sizes = []

    def entries() -> Iterator[Entry]:
        for number in range(200):
            sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
            yield entry(tmp_path / f"{number}.jpg", record("a dog" * 200))

    assert write_album_page(tmp_path / "album.html", entries()).endswith(": 200 photographs; open it in a browser")
    assert sizes[-1] - sizes[1] > 100_000


@slow
def test_photographs_are_filtered_and_ordered(tmp_path: Path, browser: Browser) -> None:
    rng = random.Random(3)
    records = [record(f"photo {number}", similarity=rng.random(), corrected=number % 10 == 0) for number in range(150)]
    records[20] |= {"caption": "Grandma at Évian"}
    records[21]["keywords"] = [{"word": "Gärten", "share": 0.5}]
    open_album(browser, tmp_path, records)
    assert search(browser, "evian GRANDMA") == "1 of 150 photographs"
    wait_for_captions(browser, ["Grandma at Évian"])
    assert search(browser, "garten") == "1 of 150 photographs", "a keyword"
    assert search(browser, "x.png photo") == "149 of 150 photographs", "names"
    assert search(browser, "grand") == "1 of 150 photographs", "the beginning of a word"
    assert search(browser, "hoto") == "0 of 150 photographs", "another part of a word"
    assert search(browser, " ") == "150 photographs"
    order = Select(found(browser, "#order")[0])
    certainty = [2 if each["corrected"] else each["similarity"] for each in records]
    for value, sign in (("ascending", 1), ("descending", -1)):
        order.select_by_value(value)
        expected = sorted(range(150), key=lambda n: sign * certainty[n])
        wait_for_captions(browser, [records[number]["caption"] for number in expected[:60]])
    Select(found(browser, "#show")[0]).select_by_value("corrected")
    assert browser.texts("[role=status]") == ["15 of 150 photographs"]


@slow
def test_photographs_with_any_name_are_drawn_as_one_scrolls(tmp_path: Path, browser: Browser) -> None:
    folder, page = tmp_path / "photos #1 50%?", tmp_path / "pages" / "album.html"
    folder.mkdir()
    page.parent.mkdir()
    names = ["a b#?%41.png", "\"quotes' & <b>.png", "a:b\\c\n.png", os.fsdecode(b"latin \xe9.png"), "évier 猫.png"]
    paths = [photo(folder / name) for name in names]
    heic = folder / "photo.heic"
    heic.write_bytes(b"\0\0\0\x18ftypheic")
    paths += [heic, folder / "gone.jpg", *(photo(folder / f"{number}.png") for number in range(200))]
    write_album_page(page, [entry(path, record("a dog")) for path in paths])
    browser.open(page)
    shown = [f"../photos #1 50%?/{name}\ncannot be shown here" for name in ("photo.heic", "gone.jpg")]
    eventually(lambda: browser.texts(".cell .none") == shown)
    widths = "[...document.querySelectorAll('.cell img')].slice(0, 5).map((each) => each.naturalWidth)"
    eventually(lambda: browser.shown(widths) == [40] * 5)
    assert [re.search("/.*(?= · )", text)[0] for text in browser.texts(".cards > li > .faint")[2:4]] == [  # type: ignore[index]
        r"/photos #1 50%?/a:b\c\n.png", r"/photos #1 50%?/latin \udce9.png",
    ]  # fmt: skip
    assert all(url.startswith("file://") for url in browser.requests())
    assert not [line for line in browser.console() if "Security" in line]

    def scrolled() -> bool:
        browser.driver.execute_script("scrollTo(0, document.body.scrollHeight)")
        return len(found(browser, ".cards > li")) == len(paths)

    eventually(scrolled)
    assert browser.texts(".more") == []


@slow
def test_texts_are_no_markup(tmp_path: Path, browser: Browser) -> None:
    candidates, keywords = [{"caption": HOSTILE, "log_prob": -3.0}] * 2, [{"word": HOSTILE, "share": 0.5}]
    open_album(browser, tmp_path, [record(HOSTILE, marks=[HOSTILE], keywords=keywords, candidates=candidates)])
    found(browser, "summary")[0].click()
    eventually(lambda: browser.texts("details td"))
    for selector in ("h2", ".mark", ".keywords", "details td"):
        assert r"</script><img src=x onerror=alert(1)>\u202e\ud800 <!--" in browser.texts(selector)[0]
    assert (browser.driver.title, len(found(browser, "main img")), browser.console()) == ("album", 1, [])


@pytest.fixture
def described(tmp_path: Path, browser: Browser) -> Browser:
    """The page of photographs with all that a record may have."""
    maps = [[[0.1, 0.2], [0.3, 0.3]], [[0.7, 0.1], [0.05, 0.05]]]
    attention = {"words": ["a", "dog"], "grid": [2, 2], "weights": maps, "sentinel": [0.1, 0.1]}
    more = {
        "keywords": [{"word": "dog", "share": 0.9}, {"word": "beach", "share": 0.5}],
        "candidates": [{"caption": "a dog", "log_prob": -3.0}, {"caption": "a cat", "log_prob": -4.5}],
    }
    corrected = record("my cat Erna", marks=[*MARKS], corrected=True)
    described = record("a dog on a beach", attention=attention, **more)
    open_album(browser, tmp_path, [described, record("a cat", marks=[*MARKS]), corrected, record("")])
    return browser


@slow
def test_a_photograph_is_described(described: Browser) -> None:
    wait_for_captions(described, ["a dog on a beach", "a cat", "my cat Erna", "(no words)"])
    styles = [heading.value_of_css_property("font-style") for heading in found(described, "h2")]
    assert styles == ["normal", "italic", "normal", "normal"]
    assert described.texts(".mark") == [f"{name}: {mark.meaning}" for name, mark in MARKS.items()]
    assert described.texts(".corrected") == ["corrected by a person"]
    assert described.texts(".cards > li > .faint")[0] == "x.png · expected similarity 0.50"
    found(described, ".keywords button")[1].click()
    wait_for_captions(described, ["a dog on a beach"])
    assert found(described, "#query")[0] == described.driver.switch_to.active_element
    for summary in found(described, "summary"):
        summary.click()
    eventually(lambda: described.texts("td") == ["a dog", "-3.00", "a cat", "-4.50"])
    maps = ["a\nregion 0.30, sentinel 0.10", "dog\nregion 0.70, sentinel 0.10"]
    eventually(lambda: described.texts(".panels li") == maps)


@slow
@pytest.mark.parametrize("clipboard", ["available", "blocked", "nothing"])
def test_a_caption_is_copied(clipboard: str, described: Browser) -> None:
    if clipboard != "available":
        described.driver.execute_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    if clipboard == "nothing":
        described.driver.execute_script("document.execCommand = () => false")
    described.driver.execute_script(HOLD_TIMERS)
    found(described, ".copy")[2].send_keys(Keys.ENTER)
    label = "Selected: press Ctrl+C" if clipboard == "nothing" else "Copied"
    eventually(lambda: described.texts(".copy")[2] == label)
    if clipboard == "nothing":
        assert described.driver.execute_script("return getSelection().toString().trim()") == "my cat Erna"
    else:
        query = found(described, "#query")[0]
        query.send_keys(Keys.CONTROL, "v")
        assert query.get_property("value") == "my cat Erna"


@slow
@pytest.mark.parametrize("width", [320, 1400])
def test_nothing_is_cut_off_and_all_controls_have_names(width: int, described: Browser) -> None:
    described.view(width=width)
    described.driver.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    eventually(lambda: len(described.texts(".panels li")) == 2)
    assert not described.overflows()
    for element in found(described, "a, button, input, select, summary, section, .keywords, [role=img], .cell img"):
        assert element.accessible_name or not element.is_displayed(), element.get_attribute("outerHTML")
    assert [element.tag_name for element in found(described, "h1, h2, h3")] == ["h1", "h2", "h2", "h2", "h2"]
