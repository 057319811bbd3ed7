"""Pages in a real browser: complete without a network, in both colour schemes, and on a narrow screen."""

from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from selenium.webdriver.common.by import By

from captioner.report.image_pages import ImageEntry, write_entries

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
LONG = "a" * 300


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    write_entries(
        path, [ImageEntry(LONG, PIXELS, ["a dog", LONG]), ImageEntry("<script>document.title = 1</script>", None, [])]
    )
    return path


def test_the_page_is_complete_without_a_network(page: Path, browser: Browser) -> None:
    browser.open(page)
    assert browser.requests() == [page.as_uri()]
    assert browser.console() == []
    assert browser.driver.title == "Images and captions"
    image = browser.driver.find_element(By.TAG_NAME, "img")
    assert image.get_property("naturalWidth") == 64, "the picture was decoded"
    assert image.get_attribute("alt") == "a dog"


@pytest.mark.parametrize("dark", [False, True])
def test_colours_follow_the_scheme(dark: bool, page: Path, browser: Browser) -> None:
    browser.view(dark=dark)
    browser.open(page)
    paper, ink = (
        browser.driver.find_element(By.TAG_NAME, "body").value_of_css_property(name)
        for name in ("background-color", "color")
    )
    brightness = [sum(map(int, colour.strip("rgba()").split(",")[:3])) for colour in (paper, ink)]
    assert (brightness[0] < brightness[1]) is dark
    assert abs(brightness[0] - brightness[1]) > 500


def test_nothing_is_cut_off_on_a_narrow_screen(page: Path, browser: Browser) -> None:
    browser.view(width=380)
    browser.open(page)
    assert not browser.overflows()
