"""The page in a real browser: photographs are dropped, pasted and chosen, also by keyboard and without scripts."""

import base64
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from serving import Served

from captioner.evaluation.caption_files import read_caption_file

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


def element(browser: Browser, name: str) -> Any:
    return browser.driver.find_element(By.ID, name)


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
    names = [line.text for line in browser.driver.find_elements(By.CSS_SELECTOR, "article h2 + p")]
    assert names == ["one.png", "two.png"], "in the order in which they were chosen"
    assert browser.driver.find_element(By.CSS_SELECTOR, "[role=status]").get_property("textContent") == (
        f"2 of 2: two.png: {expected}"
    )
    assert set(browser.requests()) == {server.url}
    assert browser.console() == []


def test_a_photograph_is_chosen_and_captioned_again_with_other_options(
    server: Served, photograph: Path, expected: str, browser: Browser
) -> None:
    browser.open(server.url)
    element(browser, "photo").send_keys(str(photograph))
    assert captions(browser) == [expected]
    browser.driver.find_element(By.TAG_NAME, "summary").click()
    element(browser, "max_length").send_keys("2", Keys.ENTER)
    again = server.caption(photograph.read_bytes(), max_length=2).json["caption"]
    assert again != expected
    WebDriverWait(browser.driver, 60).until(lambda _: captions(browser) == [again])
    assert browser.console() == []


def test_all_captions_are_downloaded_and_one_is_copied(
    server: Served, photograph: Path, expected: str, browser: Browser, tmp_path: Path
) -> None:
    grant = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": server.url.rstrip("/")}
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", grant)
    behavior = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behavior)
    browser.open(server.url)
    link = browser.driver.find_element(By.CSS_SELECTOR, "[data-download]")
    assert not link.is_displayed()
    hand_over(browser, photograph, "drop", "one.png", "=1+1.png")
    captions(browser, 2)
    link.click()
    file = tmp_path / "captions.csv"
    WebDriverWait(browser.driver, 60).until(lambda _: file.exists())
    assert read_caption_file(file) == {"one.png": expected, "=1+1.png": expected}
    assert file.read_bytes().startswith(
        b'\xef\xbb\xbf"image","caption","log_prob","familiarity","keywords"\r\n"one.png",'
    )
    button = browser.driver.find_element(By.CSS_SELECTOR, "[data-copy]")
    button.click()
    WebDriverWait(browser.driver, 60).until(lambda _: button.text == "Copied")
    assert browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])") == expected
    assert browser.console() == []


def test_a_wrong_option_has_one_message_and_the_captions_stay(
    server: Served, photograph: Path, expected: str, browser: Browser
) -> None:
    browser.open(server.url)
    hand_over(browser, photograph, "drop", "one.png", "two.png", "three.png")
    assert captions(browser, 3) == [expected] * 3
    browser.driver.find_element(By.TAG_NAME, "summary").click()
    element(browser, "n_best").send_keys("x", Keys.ENTER)
    problems = ".problem"
    WebDriverWait(browser.driver, 60).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, problems))
    (shown,) = browser.driver.find_elements(By.CSS_SELECTOR, problems)
    assert shown.text == "captions per photograph: expected an integer >= 1 and <= 100, got x"
    assert captions(browser, 3) == [expected] * 3
    element(browser, "n_best").send_keys(Keys.BACKSPACE, Keys.ENTER)  # after the queue of the refused photographs
    status = browser.driver.find_element(By.CSS_SELECTOR, "[role=status]")
    WebDriverWait(browser.driver, 60).until(lambda _: status.text.startswith("3 of 3: three.png: "))
    assert captions(browser, 3) == [expected] * 3
    assert browser.driver.find_elements(By.CSS_SELECTOR, problems) == []
    (refused,) = browser.console()  # by one request, not three
    assert "422" in refused


def test_the_keyboard_reaches_everything(server: Served, photograph: Path, expected: str, browser: Browser) -> None:
    browser.open(server.url)
    body = browser.driver.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    active = browser.driver.switch_to.active_element
    assert active.get_attribute("id") == "photo"
    active.send_keys(str(photograph))
    assert captions(browser) == [expected]
    keys = ActionChains(browser.driver)  # keys sent to the field itself would name a file
    keys.send_keys(Keys.TAB).perform()
    summary = browser.driver.switch_to.active_element
    assert summary.tag_name == "summary"
    summary.send_keys(Keys.ENTER, Keys.TAB)
    field = browser.driver.switch_to.active_element
    assert field.get_attribute("id") == "n_best"
    field.send_keys("3", Keys.ENTER)
    count = len(server.caption(photograph.read_bytes(), n_best=3).json["candidates"])
    WebDriverWait(browser.driver, 60).until(
        lambda driver: len(driver.find_elements(By.CSS_SELECTOR, "article td:first-child")) == count
    )


def test_the_form_works_without_scripts(server: Served, photograph: Path, expected: str, browser: Browser) -> None:
    browser.view(scripts=False)
    browser.open(server.url)
    element(browser, "photo").send_keys(str(photograph))
    browser.driver.find_element(By.TAG_NAME, "button").click()
    assert captions(browser) == [expected]
    assert set(browser.requests()) == {server.url}
    browser.open(server.url)
    element(browser, "photo").send_keys(str(Path(__file__)))
    browser.driver.find_element(By.TAG_NAME, "button").click()
    shown = WebDriverWait(browser.driver, 60).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, ".problem"))
    assert shown[0].text.startswith("test_serve_in_browser.py: expected a photograph")


def test_a_problem_is_shown_in_place_of_the_caption(server: Served, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(bytes(9_000_001))
    browser.open(server.url)
    for path, expected in (
        (Path(__file__), "test_serve_in_browser.py: expected a photograph"),
        (tmp_path / "large.png", "large.png: expected a photograph of at most 9 MB; make it smaller"),
    ):
        element(browser, "photo").send_keys(str(path))
        WebDriverWait(browser.driver, 60).until(
            lambda driver, text=expected: text in driver.find_element(By.ID, "results").text  # type: ignore[misc]
        )


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [380, 1200])
def test_attention_fits_on_every_screen(
    width: int, dark: bool, attention_server: Served, photograph: Path, browser: Browser
) -> None:
    browser.view(width=width, dark=dark)
    browser.open(attention_server.url)
    element(browser, "photo").send_keys(str(photograph))
    captions(browser)
    assert not browser.overflows()
    assert browser.console() == []
    paper, ink = (
        browser.driver.find_element(By.TAG_NAME, "body").value_of_css_property(name)
        for name in ("background-color", "color")
    )
    brightness = [sum(map(int, colour.strip("rgba()").split(",")[:3])) for colour in (paper, ink)]
    assert (brightness[0] < brightness[1]) is dark


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
