"""The page in a real browser: photographs are dropped, pasted and chosen, and their answers are drawn."""

import base64
import re
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from serving import Served, served

from captioner.serve import MAX_BYTES

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
    """Wait for captions, and return them."""
    headings = "article h2"
    WebDriverWait(browser.driver, 60).until(
        lambda driver: len(driver.find_elements(By.CSS_SELECTOR, headings)) >= count
    )
    return [heading.text for heading in browser.driver.find_elements(By.CSS_SELECTOR, headings)]


def texts(browser: Browser, selector: str) -> list[str]:
    return [found.text for found in browser.driver.find_elements(By.CSS_SELECTOR, selector)]


@pytest.fixture
def expected(server: Served, photograph: Path) -> str:
    caption: str = server.caption(photograph.read_bytes()).json["caption"]
    return caption


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_a_photograph_is_dropped_or_pasted(
    how: str, server: Served, photograph: Path, expected: str, browser: Browser
) -> None:
    browser.open(server.url)
    hand_over(browser, photograph, how, "one.png", "two.png")
    assert captions(browser, 2) == [expected] * 2
    assert texts(browser, "article p.faint") == ["one.png", "two.png"], "in the order in which they were chosen"
    assert texts(browser, "[role=status]") == [f"two.png: {expected}"]
    assert {url.partition("?")[0] for url in browser.requests()} == {server.url, f"{server.url}caption"}
    assert browser.console() == []


def test_the_keyboard_reaches_everything(server: Served, photograph: Path, expected: str, browser: Browser) -> None:
    browser.open(server.url)
    browser.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    active = browser.driver.switch_to.active_element
    assert active.get_attribute("id") == "photo"
    active.send_keys(str(photograph))
    assert captions(browser) == [expected]
    ActionChains(browser.driver).send_keys(Keys.TAB).perform()  # keys sent to the field itself would name a file
    field = browser.driver.switch_to.active_element
    assert field.accessible_name == "Candidates"
    field.send_keys("3", Keys.ENTER)
    answer = server.caption(photograph.read_bytes(), n_best=3).json
    assert captions(browser, 2) == [answer["caption"], expected]
    assert texts(browser, "article td:first-child") == [each["caption"] for each in answer["candidates"]]
    field.clear()
    field.send_keys("101", Keys.ENTER)
    assert len(browser.requests()) == 3, "a value outside the bounds is not sent"
    assert browser.console() == []


def test_a_problem_is_shown_in_place_of_the_caption(server: Served, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(bytes(MAX_BYTES + 1))
    browser.open(server.url)
    for path, expected in (
        (Path(__file__), "test_serve_in_browser.py\nphotograph: expected a photograph"),
        (tmp_path / "large.png", "large.png\nexpected a photograph of at most 20 MB, got more"),
    ):
        browser.driver.find_element(By.ID, "photo").send_keys(str(path))
        WebDriverWait(browser.driver, 60).until(
            lambda driver, text=expected: text in driver.find_element(By.TAG_NAME, "section").text  # type: ignore[misc]
        )


def test_labels_and_an_image_outside_the_training_domain(
    familiar_run: Path, photograph: Path, browser: Browser
) -> None:
    with served(familiar_run) as server:
        names = [label["name"] for label in server.caption(photograph.read_bytes(), labels=5).json["labels"]]
        browser.open(server.url)
        hand_over(browser, photograph, "drop", "new.png")
        captions(browser)
        assert texts(browser, "article strong") == ["outside the training domain"]
        assert texts(browser, "article h2 ~ p.faint") == ["new.png · familiarity 0 of 100"]
        (labels,) = texts(browser, "article h3 + p")
        assert re.sub(r" \d+%", "", labels) == ", ".join(names)


@pytest.mark.parametrize(("width", "dark"), [(380, True), (1200, False)])
def test_attention_fits_on_every_screen(
    width: int, dark: bool, attention_server: Served, photograph: Path, browser: Browser
) -> None:
    browser.view(width=width, dark=dark)
    browser.open(attention_server.url)
    browser.driver.find_element(By.ID, "photo").send_keys(str(photograph))
    captions(browser)
    attention = attention_server.caption(photograph.read_bytes(), attention="true").json["attention"]
    assert texts(browser, ".panels .word") == attention["words"]
    rows, columns = attention["grid"]
    cells = browser.driver.find_elements(By.CSS_SELECTOR, ".panels li:first-child i")
    assert len(cells) == rows * columns
    strongest = int(np.ravel(attention["weights"][0]).argmax())
    assert [cell.get_attribute("class") for cell in cells].index("strongest") == strongest
    assert not browser.overflows()
    assert browser.console() == []
    body = browser.driver.find_element(By.TAG_NAME, "body")
    colours = (body.value_of_css_property(name) for name in ("background-color", "color"))
    paper, ink = (sum(map(int, colour.strip("rgba()").split(",")[:3])) for colour in colours)
    assert (paper < ink) is dark
    browser.driver.find_element(By.CSS_SELECTOR, "[name=attention]").click()
    browser.driver.find_element(By.TAG_NAME, "button").click()
    captions(browser, 2)
    assert len(browser.driver.find_elements(By.CSS_SELECTOR, ".panels")) == 1, "the second caption has no maps"


def test_scripts_in_names_and_captions_do_not_run(server: Served, photograph: Path, browser: Browser) -> None:
    browser.open(server.url)
    hand_over(browser, photograph, "drop", "<img src=x onerror=document.title=1>.png")
    captions(browser)
    browser.driver.execute_script(
        "const injected = document.createElement('script'); injected.textContent = 'document.title = 1';"
        "document.body.append(injected);"
    )
    assert browser.driver.title == "Caption photographs"
    assert any("Content Security Policy" in message for message in browser.console()), "the injected script is refused"
