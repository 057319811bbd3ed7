"""The album in a real browser: it is looked through, searched and corrected, with the keyboard and on every screen."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, wait
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select
from serving import Served
from test_serve_in_browser import hand_over

from captioner.photos.album import Album

LATE = """
const fetched = window.fetch;
let number = 0;
window.fetch = async (url, ...others) => {
  const answer = await fetched(url, ...others);
  if (url.startsWith("/album/photographs")) await new Promise((done) => setTimeout(done, number++ ? 0 : 500));
  return answer;
};
"""
"""The first photographs arrive late."""


def found(browser: Browser, selector: str) -> list[WebElement]:
    return browser.driver.find_elements(By.CSS_SELECTOR, selector)


def opened(browser: Browser, site: Served, count: int = 5) -> list[WebElement]:
    """Open the album, and return the fields of captions."""
    browser.console()  # forget the messages of earlier pages
    browser.open(site.url)
    wait(browser, lambda: len(found(browser, ".cards textarea")) == count)
    return found(browser, ".cards textarea")


def status(browser: Browser) -> str:
    return found(browser, ".grid [role=status]")[0].text


def captions(browser: Browser) -> list[str]:
    script = "return [...document.querySelectorAll('.cards textarea')].map((field) => field.value)"
    shown: list[str] = browser.driver.execute_script(script)
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
    first = opened(browser, site)[0]
    first.clear()
    first.send_keys("Anna in Brunate", Keys.ENTER)
    wait(browser, lambda: status(browser) == "saved: Anna in Brunate")
    assert texts(album_file)["070.png"] == ("Anna in Brunate", before["070.png"][1], True)
    second = browser.driver.switch_to.active_element  # it went on to the next photograph
    assert second.get_property("value") == before["071.png"][0]
    second.send_keys(Keys.ENTER)  # at once, as by a key that is pressed twice
    assert "confirmed" not in status(browser)
    time.sleep(0.5)
    second.send_keys(Keys.ENTER)
    wait(browser, lambda: status(browser) == f"confirmed: {before['071.png'][0]}")
    assert texts(album_file)["071.png"] == (*before["071.png"][:2], True)
    third = browser.driver.switch_to.active_element
    third.send_keys("x", Keys.TAB)
    assert "unsaved" in str(third.get_attribute("class"))
    third.send_keys(Keys.ESCAPE)
    assert (third.get_property("value"), third.get_attribute("class")) == (before["072.png"][0], "")
    third.send_keys(Keys.TAB)
    browser.driver.switch_to.active_element.send_keys(Keys.CONTROL, "a", Keys.NULL, "Velo, Karte", Keys.ENTER)
    wait(browser, lambda: texts(album_file)["072.png"] == (before["072.png"][0], ["Velo", "Karte"], True))
    notes = ["corrected by you Take back", "confirmed by you Take back", "corrected by you Take back"]
    wait(browser, lambda: [note.text for note in found(browser, ".corrected")] == notes)
    for button in reversed(found(browser, ".corrected button")):
        button.send_keys(Keys.ENTER)
        wait(browser, lambda: status(browser).startswith("taken back: "))
        wait(browser, lambda: len(found(browser, ".corrected button")) < len(notes))
        notes.pop()
    assert texts(album_file) == before
    assert browser.console() == []


def test_photographs_are_searched_ordered_and_shown(
    site: Served, album_file: Path, browser: Browser, cli: Callable[..., Any], photo_run: Path
) -> None:
    with Album(album_file) as album:
        entry, *_ = album.entries()
        album.correct(entry.id, ("a zebra in Évian", ["zebra"]), "elsewhere")
    opened(browser, site)
    assert status(browser) == "5 photographs"
    images = found(browser, ".cell img")
    wait(browser, lambda: all(image.get_property("naturalWidth") for image in images))
    found(browser, "#query")[0].send_keys("evian zebras")
    wait(browser, lambda: status(browser) == "1 photograph; unknown to the model, and in no name or correction: zebras")
    wait(browser, lambda: captions(browser) == ["a zebra in Évian"])
    assert found(browser, ".grid section > p")[0].text == "None that all words clearly fit. Less certain:"
    found(browser, "#query")[0].clear()
    Select(found(browser, "#show")[0]).select_by_value("corrected")
    wait(browser, lambda: status(browser) == "1 photograph")
    Select(found(browser, "#show")[0]).select_by_value("all")
    Select(found(browser, "#order")[0]).select_by_value("ascending")
    wait(browser, lambda: captions(browser)[4:] == ["a zebra in Évian"])


def test_unsaved_text_stays_and_text_of_others_is_not_replaced(
    site: Served, album_file: Path, browser: Browser
) -> None:
    first = opened(browser, site)[0]
    first.send_keys(" mine")
    Select(found(browser, "#order")[0]).select_by_value("ascending")
    wait(browser, lambda: status(browser) == "first save the changed text with Enter, or restore it with Escape")
    assert captions(browser)[0].endswith(" mine")
    with Album(album_file) as album:
        entry = next(entry for entry in album.entries() if entry.path.name == "070.png")
        album.correct(entry.id, ("of another", []), "elsewhere")
    first.send_keys(Keys.ENTER)
    wait(browser, lambda: status(browser) == "changed elsewhere meanwhile, to 'of another'")
    assert texts(album_file)["070.png"][0] == "of another"
    assert captions(browser)[0].endswith(" mine")
    first.send_keys(Keys.ENTER)
    wait(browser, lambda: status(browser).startswith("saved: "))
    assert texts(album_file)["070.png"][0].endswith(" mine")


def test_parts_are_drawn_in_order(site: Served, album_file: Path, browser: Browser) -> None:
    """A first part that is answered late is drawn first."""
    with Album(album_file) as album:
        entry, *_ = album.entries()
        album.correct(entry.id, ("a zebra", []), "elsewhere")
    script = browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": f"{{ {LATE} }}"})
    opened(browser, site)
    browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    found(browser, "#query")[0].send_keys("zebra 07")
    wait(browser, lambda: len(captions(browser)) == 5)
    assert captions(browser)[0] == "a zebra"


def test_a_photograph_that_cannot_be_shown_has_its_name(site: Served, browser: Browser) -> None:
    Path("new/070.png").unlink()
    opened(browser, site)
    wait(browser, lambda: found(browser, ".cell .none"))
    assert found(browser, ".cell .none")[0].text == "070.png\ncannot be shown here".replace("070", f"{names()}/070")


def names() -> str:
    return f"{Path.cwd().name}/new"


def test_an_error_of_the_server_is_shown_and_the_text_stays(site: Served, album_file: Path, browser: Browser) -> None:
    first = opened(browser, site)[0]
    first.clear()
    first.send_keys(Keys.ENTER)
    wait(browser, lambda: status(browser) == "expected a caption, got none; Escape restores it")
    site.process.terminate()
    site.process.wait(30)
    first.send_keys("kept", Keys.ENTER)
    wait(browser, lambda: status(browser) == "the server does not respond; is it running?")
    assert first.get_property("value") == "kept"


def test_photographs_that_are_dropped_are_captioned(site: Served, photograph: Path, browser: Browser) -> None:
    opened(browser, site)
    hand_over(browser, photograph, "drop", "one.png")
    wait(browser, lambda: len(found(browser, "article h2")) == 1)
    shown = [link.text for link in found(browser, "nav a[aria-current=page]")]
    assert (shown, found(browser, ".grid")[0].is_displayed()) == (["Caption photographs"], False)
    found(browser, "nav a")[0].click()
    wait(browser, lambda: found(browser, ".grid")[0].is_displayed())


@pytest.mark.parametrize(("width", "dark"), [(380, True), (1200, False)])
def test_the_album_fits_on_every_screen(width: int, dark: bool, site: Served, browser: Browser) -> None:
    browser.view(width=width, dark=dark)
    opened(browser, site)
    wait(browser, lambda: not browser.overflows())

    def brightness(name: str) -> int:
        colour = found(browser, "body")[0].value_of_css_property(name)
        return sum(map(int, colour.strip("rgba()").split(",")[:3]))

    wait(browser, lambda: (brightness("background-color") < brightness("color")) is dark)
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
    wait(browser, lambda: status(browser) == "3,005 photographs" and found(browser, ".cards"))
    assert len(found(browser, ".cards > li")) < 300
    while len(drawn := found(browser, ".cards > li")) < 500:
        ActionChains(browser.driver).send_keys(Keys.END).perform()
    assert len(drawn) < 1_000
