"""The page in a real browser, beside a real training: it follows, and disturbs neither reader nor training."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser
from monitoring import monitor, stop, training, wait_for
from selenium.webdriver.common.by import By

ENDLESS = ("-o", "train.epochs=1000000", "-o", "train.log_every=1", "-o", "train.max_steps=100000")

TOP = "return window.seen.isConnected && window.seen.getBoundingClientRect().top"
"""The place in the window of what the reader sees, which stays although the parts above grow."""


@pytest.fixture(autouse=True)
def _left(browser: Browser) -> Iterator[None]:
    """Leave the page at the end: it would ask its monitor for ever."""
    yield
    browser.open("about:blank")


def figures(browser: Browser) -> dict[str, str]:
    """The figures of the page by name."""
    script = "return [...document.querySelectorAll('.figures div')].map(e => [...e.children].map(c => c.innerText))"
    return {name: value for name, value, *_ in browser.driver.execute_script(script)}


def step(browser: Browser) -> int:
    return int(figures(browser)["Step"].split()[0].replace(",", ""))


def test_progress_is_shown_without_reloading(browser: Browser, small_options: tuple[str, ...], tmp_path: Path) -> None:
    run, driver = tmp_path / "run", browser.driver
    browser.view(height=400)
    with training(*small_options, *ENDLESS, "--run", run) as trained, monitor(run) as url:
        browser.open(url)
        wait_for(lambda: "of 100,000" in figures(browser)["Step"])
        wait_for(lambda: driver.find_elements(By.CSS_SELECTOR, ".gallery img"))
        first = step(browser)
        driver.execute_script("window.same = true; document.querySelector('.chart summary').click()")
        driver.execute_script("document.querySelector('.gallery summary').focus()")
        driver.execute_script("window.scrollTo(0, 700)")
        focused = driver.switch_to.active_element
        driver.execute_script("window.seen = document.elementFromPoint(200, 200)")
        before = driver.execute_script(TOP)
        wait_for(lambda: step(browser) > first)
        wait_for(lambda: "until" in figures(browser)["Time left"])
        later = step(browser)
        wait_for(lambda: step(browser) > later)
        assert driver.switch_to.active_element == focused
        assert driver.execute_script(TOP) == pytest.approx(before, abs=1)
        assert driver.execute_script("return scrollY") > 0
        assert driver.execute_script("return window.same")
        assert driver.find_element(By.CSS_SELECTOR, ".chart details").get_attribute("open")
        (live,) = driver.find_elements(By.CSS_SELECTOR, ":is([role=status], [aria-live]):not([hidden] *)")
        assert live.text == "Training is running."
        assert "captioner train --resume" in stop(trained)
        wait_for(lambda: live.text == f"Training was stopped; continue with captioner train --resume {run}")
        assert "Time left" not in figures(browser)
        assert browser.console() == []
        assert {sent.removeprefix(url) for sent in browser.requests()} == {"", "status", "curves", "captions"}
    wait_for(lambda: live.text == "The monitor does not respond any more; this page shows its last state.")
    assert step(browser) >= later


def test_the_page_is_complete_without_scripts(browser: Browser, attention_run: Path) -> None:
    browser.view(scripts=False)
    with monitor(attention_run) as url:

        def shows_captions() -> bool:
            browser.open(url)
            return bool(browser.driver.find_elements(By.CSS_SELECTOR, ".gallery .word"))

        wait_for(shows_captions)
        source = browser.driver.page_source  # elements would become stale when the page is loaded again
        assert source.count('class="chart"') > 2
        assert '<progress max="2" value="2"' in source
        assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in source


@pytest.mark.parametrize("dark", [False, True])
def test_a_narrow_screen_and_attention_by_keyboard(dark: bool, browser: Browser, attention_run: Path) -> None:
    browser.view(width=380, dark=dark)
    with monitor(attention_run) as url:
        browser.open(url)
        (word, *_) = wait_for(lambda: browser.driver.find_elements(By.CSS_SELECTOR, ".gallery .word"))
        assert not browser.overflows()
        browser.driver.execute_script("arguments[0].focus()", word)
        assert browser.driver.find_element(By.CSS_SELECTOR, ".word-label").text == word.get_attribute("aria-label")
        assert browser.console() == []
