"""Pages in a real browser: complete without a network and without scripts, usable by keyboard, safe with any data."""

from itertools import pairwise
from pathlib import Path

import pytest
from browser import Browser
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from captioner.report.page import write_report


@pytest.fixture(scope="module")
def report(attention_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("pages") / "report.html"
    write_report(path, attention_run, shown=5)
    return path


@pytest.fixture
def page(report: Path, browser: Browser) -> Path:
    browser.open(report)
    return report


def names(browser: Browser) -> list[str]:
    return [text.rpartition("· ")[2] for text in browser.texts("li.entry .meta")]


def numbers(browser: Browser, key: str) -> list[float]:
    script = "return [...document.querySelectorAll('li.entry')].map((each) => each.getAttribute(arguments[0]))"
    return [float(value or "nan") for value in browser.driver.execute_script(script, f"data-{key}")]


def test_a_page_is_complete_without_a_network(page: Path, browser: Browser) -> None:
    assert browser.requests() == [page.as_uri()]
    assert browser.console() == []
    assert browser.driver.title == "run"
    assert len(browser.texts("li.entry")) == 5
    pictures = browser.driver.find_elements(By.CSS_SELECTOR, ".view image")
    assert all(picture.size["width"] > 50 for picture in pictures)


def test_the_gallery_is_sorted(page: Path, browser: Browser) -> None:
    static = names(browser)
    assert numbers(browser, "cider") == sorted(numbers(browser, "cider"), reverse=True)
    sort = Select(browser.driver.find_element(By.TAG_NAME, "select"))
    sort.select_by_value("worst")
    assert numbers(browser, "cider") == sorted(numbers(browser, "cider"))
    sort.select_by_value("likely")
    assert numbers(browser, "log-prob") == sorted(numbers(browser, "log-prob"), reverse=True)
    sort.select_by_value("unlikely")
    assert numbers(browser, "log-prob") == sorted(numbers(browser, "log-prob"))
    sort.select_by_value("name")
    assert names(browser) == sorted(static)
    sort.select_by_value("page")
    assert names(browser) == static


def test_the_gallery_is_filtered(page: Path, browser: Browser) -> None:
    name = names(browser)[2]
    field = browser.driver.find_element(By.TAG_NAME, "input")
    field.send_keys(name.upper())
    assert names(browser) == [name]
    assert browser.texts("output") == ["1 of 5 images"]
    field.send_keys(" nothing like this")
    assert (browser.texts("li.entry"), browser.texts("output")) == ([], ["0 of 5 images"])
    field.clear()
    field.send_keys(Keys.SPACE)
    assert len(browser.texts("li.entry")) == 5


def test_a_word_with_the_focus_shows_its_attention(page: Path, browser: Browser) -> None:
    entry = browser.driver.find_element(By.CSS_SELECTOR, "li.entry")
    over, shown = (entry.find_element(By.CSS_SELECTOR, f".view {name}") for name in (".over", ".word-label"))
    words = entry.find_elements(By.CSS_SELECTOR, ".word")
    last = entry.find_elements(By.TAG_NAME, "summary")[-1]
    browser.driver.execute_script("arguments[0].focus()", last)
    for word in words[:2]:
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        assert browser.driver.switch_to.active_element == word
        assert over.get_attribute("innerHTML") == word.find_element(By.CSS_SELECTOR, ".map").get_attribute("innerHTML")
        assert shown.text == word.get_attribute("aria-label")
        assert "strongest region 0." in shown.text
    browser.driver.execute_script("document.activeElement.blur()")
    assert (over.get_attribute("innerHTML"), shown.text) == ("", "")


def test_without_scripts_everything_is_readable(page: Path, browser: Browser) -> None:
    expected = {name: browser.texts(name) for name in ("h1", "h2", ".caption", ".meta", ".references")}
    browser.view(scripts=False)
    browser.open(page)
    assert {name: browser.texts(name) for name in expected} == expected
    assert browser.texts(".controls") == []
    words = browser.driver.find_elements(By.CSS_SELECTOR, ".word svg")[:5]
    assert [word.size["width"] > 30 for word in words] == [True] * 5


@pytest.mark.parametrize("width", [320, 700, 1200])
def test_nothing_is_cut_off(width: int, report: Path, browser: Browser) -> None:
    browser.view(width=width)
    browser.open(report)
    for details in browser.driver.find_elements(By.TAG_NAME, "details"):
        browser.driver.execute_script("arguments[0].open = true", details)
    assert not browser.overflows()


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_contrast_in_both_schemes(dark: bool, report: Path, browser: Browser) -> None:
    browser.view(dark=dark)
    browser.open(report)
    paper = luminance(browser.driver.find_element(By.TAG_NAME, "body").value_of_css_property("background-color"))
    for selector in ("h1", ".note", ".meta", ".caption", ".mark-best", ".mark-worst", "td", ".references li"):
        for element in browser.driver.find_elements(By.CSS_SELECTOR, selector)[:3]:
            ink = luminance(element.value_of_css_property("color"))
            assert (paper < ink) is dark
            contrast = (max(paper, ink) + 0.05) / (min(paper, ink) + 0.05)
            assert contrast >= 4.5, f"{selector}: {contrast:.1f}"


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2."""
    parts = [int(part) / 255 for part in colour.strip("rgba()").split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_headings_form_an_outline_and_controls_have_names(page: Path, browser: Browser) -> None:
    levels = [int(head.tag_name[1]) for head in browser.driver.find_elements(By.CSS_SELECTOR, "h1, h2, h3, h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    controls = "select, input, button, section, [role=region], svg[role=img]"
    for element in browser.driver.find_elements(By.CSS_SELECTOR, controls):
        assert element.accessible_name or not element.is_displayed(), element.get_attribute("outerHTML")[:200]
