"""The page in a real browser: photographs are dropped, pasted and chosen; captions are shown, copied and saved."""

import base64
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from browser import HOLD_TIMERS, Browser
from eventually import eventually
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from serving import Served, served

import captioner
from captioner.captioning.caption import MARKS, TABLE_COLUMNS
from captioner.data.table_cells import csv_line
from captioner.photos.request_body import MAX_BYTES

FOREIGN = "not an answer of captioner; is another program at this address?"
HAND_OVER = """
const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
const data = new DataTransfer();
for (const name of arguments[2]) data.items.add(new File([bytes], name, {type: "image/png"}));
const target = document.querySelector(".zone");
const settings = {bubbles: true, cancelable: true};
target.dispatchEvent(arguments[1] === "paste"
  ? new ClipboardEvent("paste", {clipboardData: data, ...settings})
  : new DragEvent("drop", {dataTransfer: data, ...settings}));
"""
"""Hands a photograph over as the browser does after a user dropped or pasted it."""


def hand_over(browser: Browser, photograph: Path, how: str, *names: str) -> None:
    content = base64.b64encode(photograph.read_bytes()).decode()
    browser.driver.execute_script(HAND_OVER, content, how, names)


def captions(browser: Browser, count: int = 1) -> list[str]:
    """Wait until so many photographs are captioned, and return the captions."""

    def shown() -> list[str]:
        found = browser.texts("article h2")
        return found if len(found) == count else []

    return eventually(shown)


def wait_for_status(browser: Browser, text: str) -> None:
    eventually(lambda: browser.texts("[role=status]") == [text])


@pytest.fixture
def expected(server: Served, photograph: Path) -> str:
    caption: str = server.caption(photograph.read_bytes()).json["caption"]
    return caption


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_a_photograph_is_dropped_or_pasted(
    how: str, server: Served, photograph: Path, expected: str, browser: Browser
) -> None:
    browser.open(server.url)
    browser.driver.execute_script(
        "const live = document.querySelector('[role=status]'); window.seen = [];"
        "new MutationObserver(() => seen.push(live.textContent)).observe(live, {childList: true});"
    )
    hand_over(browser, photograph, how, "one.png", "two.png")
    assert captions(browser, 2) == [expected] * 2
    assert browser.texts("article p.faint") == ["one.png", "two.png"], "in the order in which they were chosen"
    progress = ["0 of 2 …", f"1 of 2 · one.png: {expected}", "2 photographs captioned"]
    assert browser.driver.execute_script("return seen") == progress
    assert browser.texts("progress") == []
    assert {url.partition("?")[0] for url in browser.requests()} == {server.url, f"{server.url}caption"}
    assert browser.console() == []


def test_the_keyboard_reaches_everything(server: Served, photograph: Path, expected: str, browser: Browser) -> None:
    browser.open(server.url)
    browser.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert browser.shown("document.activeElement.id") == "photo"
    browser.driver.switch_to.active_element.send_keys(str(photograph))
    assert captions(browser) == [expected]
    keys = ActionChains(browser.driver).send_keys  # keys sent to the file field itself would name a file
    keys(Keys.TAB).perform()
    assert browser.shown("document.activeElement.innerText") == "Download table (CSV)"
    assert browser.console() == []


def test_a_photograph_is_captioned_once(
    server: Served, photograph: Path, expected: str, browser: Browser, tmp_path: Path
) -> None:
    own = Path(shutil.copy(photograph, tmp_path / "own.png"))
    browser.open(server.url)
    field = browser.driver.find_element(By.ID, "photo")
    field.send_keys(str(own))
    assert captions(browser) == [expected]
    field.clear()
    field.send_keys(str(own))
    wait_for_status(browser, "1 photograph already on this page")
    assert captions(browser) == [expected]
    assert len([url for url in browser.requests() if "caption?" in url]) == 1


def test_photographs_that_the_server_did_not_answer_are_captioned_later(
    server: Served, photograph: Path, expected: str, browser: Browser
) -> None:
    browser.open(server.url)
    browser.connect(online=False)
    hand_over(browser, photograph, "drop", "one.png", "two.png")
    wait_for_status(browser, "0 photographs captioned, 2 failed")
    browser.connect()
    browser.driver.find_element(By.CSS_SELECTOR, "form button").click()
    assert captions(browser, 2) == [expected] * 2
    browser.driver.execute_script("window.fetch = async () => new Response('{}')")
    hand_over(browser, photograph, "drop", "three.png")
    wait_for_status(browser, f"three.png: {FOREIGN}")
    assert browser.texts("button:not(.copy)") == ["Caption 1 photograph again", "Download table (CSV)"]
    browser.console()


def test_photographs_that_differ_in_content_alone_are_captioned(
    server: Served, browser: Browser, tmp_path: Path
) -> None:
    photos = [tmp_path / folder / "IMG_1.bmp" for folder in "abc"]
    for photo, colour in zip(photos, ("red", "blue", "red"), strict=True):
        photo.parent.mkdir()
        Image.new("RGB", (8, 8), colour).save(photo)
        os.utime(photo, (0, 0))
    browser.open(server.url)
    browser.driver.find_element(By.ID, "photo").send_keys("\n".join(map(str, photos)))
    wait_for_status(browser, "2 photographs captioned; 1 photograph already on this page")


def test_the_table_has_the_captions(
    server: Served, photo_run: Path, photograph: Path, browser: Browser, tmp_path: Path
) -> None:
    photos = [Path(shutil.copy(photograph, tmp_path / name)) for name in ('=1+1;"é".png', "@b, c.png")]
    expected = [
        caption._replace(image=Path(caption.image).name) for caption in captioner.load(photo_run).caption(photos)
    ]
    lines = [
        csv_line(TABLE_COLUMNS),
        *(csv_line(cell(caption) for cell in TABLE_COLUMNS.values()) for caption in expected),
    ]
    saved = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", saved)
    browser.open(server.url)
    browser.driver.find_element(By.ID, "photo").send_keys("\n".join(map(str, photos)))
    captions(browser, 2)
    browser.driver.find_element(By.ID, "download").click()
    table = tmp_path / "captions.csv"
    eventually(lambda: table.exists() and table.read_bytes() == "".join(lines).encode("utf-8-sig"))


def test_a_caption_and_keywords_are_copied(server: Served, photograph: Path, browser: Browser) -> None:
    answer = server.caption(photograph.read_bytes()).json
    keywords = ", ".join(keyword["word"] for keyword in answer["keywords"])
    browser.driver.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    browser.open(server.url)
    hand_over(browser, photograph, "drop", "one.png")
    captions(browser)
    assert f"keywords: {keywords}" in browser.texts("article p")
    browser.driver.execute_script(HOLD_TIMERS)
    buttons = browser.driver.find_elements(By.CSS_SELECTOR, "article button")
    labels = browser.texts("article button")
    for number, (button, text) in enumerate(zip(buttons, (answer["caption"], keywords), strict=True)):
        button.click()
        labels[number] = "Copied"
        eventually(lambda: browser.texts("article button") == labels)
        assert browser.shown("navigator.clipboard.readText()") == text


def test_a_format_that_the_browser_does_not_know_has_a_preview(
    attention_server: Served, photograph: Path, browser: Browser, tmp_path: Path
) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    with Image.open(photograph) as picture:
        pillow_heif.from_pillow(picture.convert("RGB")).save(tmp_path / "a.heic")
    browser.open(attention_server.url)
    field = browser.driver.find_element(By.ID, "photo")
    field.send_keys(str(photograph))
    captions(browser)
    assert not any("preview" in url for url in browser.requests())
    field.send_keys(str(tmp_path / "a.heic"))
    captions(browser, 2)
    widths = "return [...document.querySelectorAll('article:first-of-type img')].map((image) => image.naturalWidth)"
    eventually(lambda: set(browser.driver.execute_script(widths)) == {64})
    assert [url for url in browser.requests() if "preview" in url] == [f"{attention_server.url}preview"]


def test_a_problem_is_shown_in_place_of_the_caption(server: Served, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(bytes(MAX_BYTES + 1))
    browser.open(server.url)
    field = browser.driver.find_element(By.ID, "photo")
    field.send_keys(__file__)
    eventually(lambda: "test_serve_in_browser.py\nexpected a photograph (JPEG" in browser.texts("section")[0])
    field.send_keys(str(tmp_path / "large.png"))
    eventually(lambda: "large.png\nexpected a photograph of at most 20 MB, got more" in browser.texts("section")[0])


def test_an_image_outside_the_training_domain(familiar_run: Path, photograph: Path, browser: Browser) -> None:
    with served(familiar_run) as server:
        browser.open(server.url)
        hand_over(browser, photograph, "drop", "new.png")
        captions(browser)
        mark = "outside the training domain"
        assert browser.texts("article .mark") == [f"{mark}: {MARKS[mark].meaning}"]
        heading = browser.driver.find_element(By.CSS_SELECTOR, "article h2")
        assert heading.value_of_css_property("font-style") == "italic", "not as a caption without marks"
        assert browser.texts("article h2 ~ p.faint") == ["new.png · familiarity 0 of 100"]


@pytest.mark.parametrize(("width", "dark"), [(380, True), (1200, False)])
def test_attention_fits_on_every_screen(
    width: int, dark: bool, attention_server: Served, photograph: Path, browser: Browser
) -> None:
    browser.view(width=width, dark=dark)
    browser.open(attention_server.url)
    browser.driver.find_element(By.ID, "photo").send_keys(str(photograph))
    captions(browser)
    attention = attention_server.caption(photograph.read_bytes()).json["attention"]
    assert browser.texts(".panels .word") == attention["words"]
    rows, columns = attention["grid"]
    cells = browser.shown("[...document.querySelectorAll('.panels li:first-child i')].map((each) => each.className)")
    assert len(cells) == rows * columns
    assert cells.index("strongest") == np.ravel(attention["weights"][0]).argmax()
    assert (browser.overflows(), browser.is_dark()) == (False, dark)
    assert browser.console() == []


def test_scripts_in_names_and_captions_do_not_run(server: Served, photograph: Path, browser: Browser) -> None:
    browser.open(server.url)
    hand_over(browser, photograph, "drop", "<img src=x onerror=document.title=1>.png")
    captions(browser)
    browser.driver.execute_script(
        "const injected = document.createElement('script'); injected.textContent = 'document.title = 1';"
        "document.body.append(injected);"
    )
    assert browser.driver.title == "Caption photographs"
    eventually(lambda: any("Content Security Policy" in message for message in browser.console()))  # it is refused
