"""The album in a real browser: it is looked through, searched and corrected, with the keyboard and on every screen."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from eventually import eventually
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select
from serving import Served
from test_serve_in_browser import hand_over

from captioner.photos.album import Album

HOLD = """
const fetched = window.fetch;
const held = new Promise((release) => { window.release = release; });
window.parts = [];
window.fetch = async (url, ...others) => {
  if (url.startsWith("/album/photographs")) {
    parts.push(url);
    await held;
  }
  return fetched(url, ...others);
};
"""
"""Photographs arrive after `release()`."""
STATE = """[
  document.querySelector(".grid [role=status]").textContent,
  [...document.querySelectorAll(".cards textarea")].indexOf(document.activeElement),
  document.querySelectorAll(".cards [readonly]").length,
]"""
"""The message, the number of the caption that has the focus, and how many fields are being saved."""
COUNT = "document.querySelectorAll('.cards > li').length"


def found(browser: Browser, selector: str) -> list[WebElement]:
    return browser.driver.find_elements(By.CSS_SELECTOR, selector)


def opened(browser: Browser, site: Served, count: int = 5) -> list[WebElement]:
    """Open the album, and return the fields of captions."""
    browser.console()  # forget the messages of earlier pages
    browser.open(site.url)
    eventually(lambda: len(captions(browser)) == count)
    return found(browser, ".cards textarea")


def press(browser: Browser, *keys: str) -> None:
    """Press keys where the focus is."""
    browser.driver.switch_to.active_element.send_keys(*keys)


def set_clock(browser: Browser, milliseconds: int) -> None:
    """Let the clock of the page stand still."""
    browser.driver.execute_script("performance.now = () => arguments[0]", milliseconds)


def status(browser: Browser) -> str:
    return str(browser.shown("document.querySelector('.grid [role=status]').textContent"))


def captions(browser: Browser) -> list[str]:
    shown: list[str] = browser.shown("[...document.querySelectorAll('.cards textarea')].map((field) => field.value)")
    return shown


def texts(album_file: Path) -> dict[str, tuple[str, list[str], bool]]:
    """The captions, keywords and whether a person wrote them, by name, as another process reads them."""
    with Album(album_file) as album:
        return {
            entry.path.name: (
                entry.caption.text, [each.word for each in entry.caption.keywords], entry.correction is not None
            )
            for entry in album.entries()
        }  # fmt: skip


def test_captions_are_corrected_confirmed_and_taken_back_with_the_keyboard(
    site: Served, album_file: Path, browser: Browser
) -> None:
    before = texts(album_file)
    (_, words, _), (two, others, _), (three, *_) = (before[f"07{number}.png"] for number in range(3))
    first = opened(browser, site)[0]
    set_clock(browser, 0)
    first.clear()
    first.send_keys("Anna in Brunate", Keys.ENTER)
    eventually(lambda: browser.shown(STATE) == ["saved: Anna in Brunate", 1, 0])  # it went on to the next photograph
    press(browser, Keys.ENTER)  # at once, as by a key that is pressed twice
    assert browser.shown(STATE) == ["saved: Anna in Brunate", 1, 0]
    set_clock(browser, 1_000)
    press(browser, Keys.ENTER)
    eventually(lambda: browser.shown(STATE) == [f"confirmed: {two}", 2, 0])
    third = browser.driver.switch_to.active_element
    third.send_keys("x", Keys.TAB)
    assert third.get_attribute("class") == "unsaved"
    third.send_keys(Keys.ESCAPE)
    assert (third.get_property("value"), third.get_attribute("class")) == (three, "")
    third.send_keys(Keys.TAB)
    press(browser, Keys.CONTROL, "a", Keys.NULL, "Velo, Karte", Keys.ENTER)
    notes = ["corrected by you Take back", "confirmed by you Take back", "corrected by you Take back"]
    eventually(lambda: browser.texts(".corrected") == notes)
    assert texts(album_file) == {
        **before,
        "070.png": ("Anna in Brunate", words, True),
        "071.png": (two, others, True),
        "072.png": (three, ["Velo", "Karte"], True),
    }
    while notes:
        found(browser, ".corrected button")[-1].send_keys(Keys.ENTER)
        notes.pop()
        eventually(lambda: browser.texts(".corrected") == notes)
    assert texts(album_file) == before
    assert browser.console() == []


def test_photographs_are_searched_ordered_and_shown(site: Served, album_file: Path, browser: Browser) -> None:
    corrected = ["a zebra in Évian", "a horse"]
    with Album(album_file) as album:
        for entry, text in zip(album.entries(), corrected, strict=False):
            album.correct(entry.id, (text, []), "elsewhere")
    opened(browser, site)
    assert status(browser) == "5 photographs"
    eventually(lambda: browser.shown("[...document.querySelectorAll('.cell img')].every((each) => each.naturalWidth)"))
    found(browser, "#query")[0].send_keys("evian zebras")
    note = "1 photograph; unknown to the model, and in no name or correction: zebras"
    eventually(lambda: status(browser) == note)
    eventually(lambda: captions(browser) == corrected[:1])
    assert browser.texts(".grid section > p") == ["None that all words clearly fit. Less certain:"]
    found(browser, "#query")[0].clear()
    Select(found(browser, "#show")[0]).select_by_value("corrected")
    eventually(lambda: captions(browser) == corrected)
    assert status(browser) == "2 photographs"
    Select(found(browser, "#show")[0]).select_by_value("all")
    Select(found(browser, "#order")[0]).select_by_value("ascending")
    eventually(lambda: captions(browser)[3:] == corrected)


def test_unsaved_text_stays_and_text_of_others_is_not_replaced(
    site: Served, album_file: Path, browser: Browser
) -> None:
    first = opened(browser, site)[0]
    first.send_keys(" mine")
    Select(found(browser, "#order")[0]).select_by_value("ascending")
    eventually(lambda: status(browser) == "first save the changed text with Enter, or restore it with Escape")
    assert captions(browser)[0].endswith(" mine")
    with Album(album_file) as album:
        entry = next(entry for entry in album.entries() if entry.path.name == "070.png")
        album.correct(entry.id, ("of another", []), "elsewhere")
    first.send_keys(Keys.ENTER)
    eventually(lambda: status(browser) == "changed elsewhere meanwhile, to 'of another'")
    assert texts(album_file)["070.png"][0] == "of another"
    assert captions(browser)[0].endswith(" mine")
    first.send_keys(Keys.ENTER)
    eventually(lambda: status(browser).startswith("saved: "))
    assert texts(album_file)["070.png"][0].endswith(" mine")


def test_a_photograph_that_cannot_be_shown_has_its_name(site: Served, browser: Browser) -> None:
    Path("new/070.png").unlink()
    opened(browser, site)
    shown = f"{Path.cwd().name}/new/070.png\ncannot be shown here"
    eventually(lambda: browser.texts(".cell .none") == [shown])


def test_an_error_of_the_server_is_shown_and_the_text_stays(site: Served, album_file: Path, browser: Browser) -> None:
    first = opened(browser, site)[0]
    first.clear()
    first.send_keys(Keys.ENTER)
    eventually(lambda: status(browser) == "expected a caption, got none; Escape restores it")
    site.process.terminate()
    site.process.wait(60)
    first.send_keys("kept", Keys.ENTER)
    eventually(lambda: status(browser) == "the server does not respond; is it running?")
    assert first.get_property("value") == "kept"


def test_photographs_that_are_dropped_are_captioned(site: Served, photograph: Path, browser: Browser) -> None:
    opened(browser, site)
    hand_over(browser, photograph, "drop", "one.png")
    eventually(lambda: len(browser.texts("article h2")) == 1)
    assert (browser.texts("nav a[aria-current=page]"), browser.texts(".grid")) == (["Caption photographs"], [])
    found(browser, "nav a")[0].click()
    eventually(lambda: browser.texts(".grid"))


@pytest.mark.parametrize(("width", "dark"), [(380, True), (1200, False)])
def test_the_album_fits_on_every_screen(width: int, dark: bool, site: Served, browser: Browser) -> None:
    browser.view(width=width, dark=dark)
    opened(browser, site)
    assert (browser.overflows(), browser.is_dark()) == (False, dark)
    assert {url.split("/")[2] for url in browser.requests()} == {site.url.split("/")[2]}


def test_texts_of_captions_and_names_do_not_run(site: Served, album_file: Path, browser: Browser) -> None:
    with Album(album_file) as album:
        for entry in album.entries():
            album.correct(entry.id, ("<img src=x onerror=document.title=1>", ["</script><b>"]), "elsewhere")
    assert opened(browser, site)[0].get_property("value") == "<img src=x onerror=document.title=1>"
    assert (browser.driver.title, browser.console()) == ("Album", [])


def test_thousands_of_photographs_are_drawn_as_one_scrolls(site: Served, album_file: Path, browser: Browser) -> None:
    with closing(sqlite3.connect(album_file)) as database, database:  # copies of the first photograph
        fields = database.execute("SELECT model, record, shares, time FROM caption").fetchone()
        for number in range(3_000):
            digest = number.to_bytes(16, "big")
            photograph = database.execute("INSERT INTO photograph (digest) VALUES (?)", (digest,)).lastrowid
            caption = database.execute(
                "INSERT INTO caption VALUES (NULL, ?, ?, ?, ?, ?)", (photograph, *fields)
            ).lastrowid
            database.execute("UPDATE photograph SET caption = ? WHERE id = ?", (caption, photograph))
            database.execute(
                "INSERT INTO place VALUES (?, ?, 0, 0, 0, 0)", (f"/x/{number:04}.jpg".encode(), photograph)
            )
    browser.open(site.url)
    eventually(lambda: status(browser) == "3,005 photographs" and browser.shown(COUNT))
    assert browser.shown(COUNT) < 300

    def scrolled() -> Any:
        ActionChains(browser.driver).send_keys(Keys.END).perform()
        return browser.shown(f"{COUNT} >= 500 && {COUNT}")

    assert eventually(scrolled) < 1_000
    browser.driver.execute_script(HOLD)
    Select(found(browser, "#order")[0]).select_by_value("ascending")
    eventually(lambda: browser.shown(COUNT) == 0)
    browser.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert browser.shown("parts.length === new Set(parts).size"), "one part at a time, and each once"
    browser.driver.execute_script("release()")
    eventually(lambda: browser.shown(COUNT))
