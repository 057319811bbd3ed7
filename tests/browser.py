"""A real browser for tests of pages: Debian's Chromium, driven by selenium."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium")
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
AVAILABLE = CHROMIUM is not None and DRIVER is not None
QUIET = (
    "--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
"""Without these, Chromium asks servers of its maker at every start."""


TEXTS = """
const visible = [...document.querySelectorAll(arguments[0])].filter((each) => each.checkVisibility());
return visible.map((each) => each.innerText.trim().replace(/\\n+/g, "\\n"));
"""
IS_DARK = """
const brightness = (colour) => colour.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
const { backgroundColor, color } = getComputedStyle(document.body);
return brightness(backgroundColor) < brightness(color);
"""
HOLD_TIMERS = "window.setTimeout = () => 0"
"""For what a page shows for a time alone, such as that a text was copied."""


class Browser:
    """A headless browser; every page is opened by its URL or path.

    What a page shows is read by one script: between two reads of an element, the page may replace it.
    """

    def __init__(self, driver: Chrome, latency: int, slowdown: int) -> None:
        self.driver, self.latency, self.slowdown = driver, latency, slowdown

    def open(self, page: Path | str) -> None:
        self.driver.get("about:blank")  # the earlier page requests nothing more
        self.driver.get_log("performance")
        self.driver.get(page.as_uri() if isinstance(page, Path) else page)

    def shown(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        return self.driver.execute_script(f"return {expression}")

    def texts(self, selector: str) -> list[str]:
        """Return the texts of the visible elements of a selector; those of a photograph are empty until it is drawn."""
        found: list[str] = self.driver.execute_script(TEXTS, selector)
        return found

    def is_dark(self) -> bool:
        """Return whether the paper is darker than the ink."""
        return bool(self.driver.execute_script(IS_DARK))

    def requests(self) -> list[str]:
        """Return the URLs that were requested since `open` or the last call, without data URIs."""
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

    def connect(self, *, online: bool = True) -> None:
        """Set the latency of the network and the speed of the processor, or cut the network off."""
        network = {"latency": self.latency, "downloadThroughput": -1, "uploadThroughput": -1}
        self._set("Network.emulateNetworkConditions", {"offline": not online, **network})
        self._set("Emulation.setCPUThrottlingRate", {"rate": self.slowdown})

    def overflows(self) -> bool:
        """Return whether the page is wider than the window."""
        root = "document.documentElement"
        return bool(self.shown(f"{root}.scrollWidth > {root}.clientWidth"))

    def screenshot(self, path: Path) -> None:
        """Write a PNG file of the window."""
        self.driver.save_screenshot(str(path))

    def _set(self, command: str, parameters: dict[str, Any]) -> None:
        self.driver.execute_cdp_cmd(command, parameters)


@contextmanager
def started(profile: Path, latency: int, slowdown: int) -> Iterator[Browser]:
    """Start a browser with a new profile, and close it at the end."""
    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in (*QUIET, f"--user-data-dir={profile}", *(["--no-sandbox"] if os.geteuid() == 0 else [])):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = Chrome(options, Service(DRIVER))
    try:
        yield Browser(driver, latency, slowdown)
    finally:
        driver.quit()
