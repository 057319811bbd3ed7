"""A real browser for tests of pages: Debian's Chromium, driven by selenium."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium")
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
AVAILABLE = CHROMIUM is not None and DRIVER is not None
QUIET = (
    "--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
"""Without these, Chromium asks servers of its maker at every start."""


class Browser:
    """A headless browser; every page is opened by its URL or path."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, page: Path | str) -> None:
        self.driver.get_log("performance")  # forget the requests of earlier pages
        self.driver.get(page.as_uri() if isinstance(page, Path) else page)

    def requests(self) -> list[str]:
        """Return the URLs that were requested since `open`, without data URIs."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        sent = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("data:", "blob:"))]

    def console(self) -> list[str]:
        """Return the errors and warnings of the page, such as blocked scripts, since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def view(self, *, width: int = 1200, height: int = 900, dark: bool = False, scripts: bool = True) -> None:
        """Set the size of the window, the colour scheme, and whether pages opened later may run scripts."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._set("Emulation.setDeviceMetricsOverride", screen)
        self._set("Emulation.setEmulatedMedia", {"features": [scheme]})
        self._set("Emulation.setScriptExecutionDisabled", {"value": not scripts})

    def overflows(self) -> bool:
        """Return whether the page is wider than the window."""
        root = "document.documentElement"
        return bool(self.driver.execute_script(f"return {root}.scrollWidth > {root}.clientWidth"))

    def screenshot(self, path: Path) -> None:
        """Write a PNG file of the window."""
        self.driver.save_screenshot(str(path))

    def _set(self, command: str, parameters: dict[str, Any]) -> None:
        self.driver.execute_cdp_cmd(command, parameters)


def wait(browser: Browser, is_true: Callable[[], object]) -> None:
    """Wait until it is true; elements that it reads may be replaced meanwhile."""
    waiting = WebDriverWait(browser.driver, 60, 0.05, [StaleElementReferenceException])
    waiting.until(lambda _: is_true())


@contextmanager
def started(profile: Path) -> Iterator[Browser]:
    """Start a browser with a new profile, and close it at the end."""
    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in (*QUIET, f"--user-data-dir={profile}", *(["--no-sandbox"] if os.geteuid() == 0 else [])):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = Chrome(options, Service(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
