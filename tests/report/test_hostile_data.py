"""A data set with hostile names and captions: the page shows them as text, and runs nothing."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from PIL import Image
from selenium.webdriver.common.by import By

NAMES = ("<script>document.title=1<.png", '"><img src=x onerror=alert(1)>.png', "&lt;b&gt;'.png", "\u202egnp.exe.png")
CAPTION = "a </ul></li><script>document.title = 'taken'</script> \"dog\" \u202eruns\u202c & 'jumps'"


@pytest.fixture
def page(tmp_path: Path, cli: Callable[..., Any], small_options: tuple[str, ...]) -> Path:
    photos = tmp_path / "photos"
    photos.mkdir()
    with open(photos / "captions.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "caption", "split"))
        for number, name in enumerate(NAMES * 2):
            split = "val" if number < len(NAMES) else "train"
            Image.new("RGB", (64, 64), (40 * number % 255, 9, 9)).save(photos / f"{split}{name}", "png")
            table.writerow((f"{split}{name}", CAPTION, split))
    data, run, path = (tmp_path / name for name in ("data.h5", "<script>run", "report.html"))
    assert (
        cli("prepare", photos / "captions.csv", "--output", data, "--encoder", "scenes", "--min-count", "1").code == 0
    )
    assert cli("train", "--data", data, "--run", run, *small_options, "-o", "train.max_steps=20", "--report").code == 0
    assert cli("report", run, "--output", path, "--images", photos).code == 0
    return path


def test_hostile_names_and_captions_are_text(page: Path, browser: Browser) -> None:
    browser.open(page)
    assert browser.requests() == [page.as_uri()]
    assert browser.console() == []
    assert browser.driver.title == "<script>run"
    assert len(browser.driver.find_elements(By.TAG_NAME, "script")) == 1
    names = {one.text.rpartition("· ")[2] for one in browser.driver.find_elements(By.CSS_SELECTOR, ".meta")}
    assert names == {f"val{name}".replace("\u202e", "\\u202e") for name in NAMES}
    references = {one.text for one in browser.driver.find_elements(By.CSS_SELECTOR, ".references li")}
    assert references == {CAPTION.replace("\u202e", "\\u202e").replace("\u202c", "\\u202c")}
    pictures = browser.driver.find_elements(By.CSS_SELECTOR, ".view img")
    assert [one.get_property("naturalWidth") for one in pictures] == [64] * len(NAMES)
