"""The page of a run, in parts that change at different times."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from captioner.monitor.current_captions import Current, CurrentCaptions
from captioner.monitor.follow import Follower
from captioner.monitor.server import Content
from captioner.monitor.view import facts, find_progress, span_of
from captioner.pages.http_headers import DENY_ALL
from captioner.pages.script import load_script
from captioner.pages.template import render
from captioner.report.curves import curves
from captioner.report.history import History, merged_warnings

RELOAD = 10
"""Seconds between reloads of the page without JavaScript."""
WARNINGS = 5
"""The number of different warnings on the page: the last ones, newest first."""
SCRIPT = load_script("monitor.js", "attention.js")
POLICY = f"{DENY_ALL}; connect-src 'self'; img-src data:; script-src {SCRIPT.source}; style-src 'unsafe-inline'"


class MonitorPage:
    """The page of the run in a folder, and its parts by path. Photographs are read from the folder `images`."""

    def __init__(self, folder: Path, images: Path | None = None) -> None:
        self.name = os.path.basename(os.path.abspath(folder))
        self._images = images
        self.captions = CurrentCaptions(folder, images)
        self._follower = Follower(folder)
        self._parts = {"/status": self._status, "/curves": self._curves, "/captions": self._captions}
        self._rendered: dict[str, tuple[object, Content]] = {}
        self._lock = threading.Lock()

    def paths(self) -> Mapping[str, Callable[[], Content]]:
        """Return the content of every path; a call waits for those of other threads."""
        return {"/": self._locked(self._page), **{path: self._locked(part) for path, part in self._parts.items()}}

    def _locked(self, content: Callable[[], Content]) -> Callable[[], Content]:
        def render_locked() -> Content:
            with self._lock:
                return content()

        return render_locked

    def _page(self) -> Content:
        parts = [(path, path[1:].capitalize(), part().body.decode()) for path, part in self._parts.items()]
        page = _content(
            "monitor.html", title=self._title, parts=parts, policy=POLICY, script=SCRIPT.text, reload=RELOAD
        )
        return page._replace(policy=POLICY)

    @property
    def _title(self) -> str:
        return f"Training of {self.name}"

    def _status(self) -> Content:
        state, history, config = self._follower.look()
        span = self.captions.current.span or (None if config is None else span_of(config, history))
        progress = find_progress(history, span, config)
        warnings = sorted(merged_warnings(history), key=lambda warning: -warning.last)
        return _content(
            "monitor_status.html",
            title=self._title,
            state=state,
            progress=progress,
            facts=list(facts(state, progress, history, self._follower.pace, time.time())),
            problems=_problems(history),
            warnings=[warning.text for warning in warnings[:WARNINGS]],
            earlier=max(0, len(warnings) - WARNINGS),
        )

    def _curves(self) -> Content:
        def draw(history: History) -> Content:
            return _content("monitor_curves.html", drawings=curves({self.name: history}))

        return self._once("/curves", self._follower.look().history, draw)

    def _captions(self) -> Content:
        def show(current: Current) -> Content:
            return _content("monitor_captions.html", current=current, images=self._images)

        return self._once("/captions", self.captions.current, show)

    def _once(self, path: str, source: Any, content: Callable[[Any], Content]) -> Content:
        """Return the content of a source, rendered once."""
        known, rendered = self._rendered.get(path, (None, None))
        if rendered is None or known is not source:
            rendered = content(source)
            self._rendered[path] = source, rendered
        return rendered


def _problems(history: History) -> list[str]:
    lines = "1 line" if history.damaged == 1 else f"{history.damaged:,} lines"
    return [f"{lines} of history.jsonl and speed.jsonl cannot be read and are left out."] if history.damaged else []


def _content(template: str, **values: Any) -> Content:
    body = render(template, **values)
    return Content(body, "text/html; charset=utf-8", hashlib.sha256(body).hexdigest()[:16])
