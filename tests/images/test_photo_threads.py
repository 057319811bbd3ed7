"""Threads that decode photographs share the filters of warnings."""

import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from photographs import bomb, corners, encoded
from PIL import Image

from captioner.errors import DataError
from captioner.images.photo import decode


def test_threads_restore_the_warning_filters() -> None:
    contents = [encoded(corners()), bomb("PNG", 9460), bomb("GIF", 14000)] * 30
    start = threading.Barrier(6)

    def work(worker: int) -> list[bool]:
        start.wait()
        outcomes = []
        for content in contents[worker:]:
            try:
                outcomes.append(decode(content, "a", 8).mode == "RGB")
            except DataError as problem:
                outcomes.append("pixels" not in str(problem))
        return outcomes

    before = list(warnings.filters)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(work, range(6)))
    assert found == [([True, False, False] * 30)[worker:] for worker in range(6)]
    assert list(warnings.filters) == before


def test_only_one_thread_changes_the_warning_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    content, inside, peak, start = encoded(corners()), 0, 0, threading.Barrier(4)
    real_open = Image.open

    def slow_open(*args: Any, **options: Any) -> Any:
        nonlocal inside, peak
        inside += 1
        peak = max(peak, inside)
        time.sleep(0.01)
        inside -= 1
        return real_open(*args, **options)

    def work(_: int) -> str:
        start.wait()
        return decode(content, "a", 8).mode

    monkeypatch.setattr(Image, "open", slow_open)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == ["RGB"] * 4
    assert peak == 1
