"""Read a run folder again when it has changed, but only as often as training does not notice."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from captioner.config.options import Config
from captioner.config.yaml_io import parse
from captioner.errors import CaptionerError
from captioner.monitor.activity import Activity
from captioner.monitor.pace import Pace
from captioner.monitor.run_state import Kind, RunState, find_state
from captioner.report.history import History, points, read_history
from captioner.storage.files import FileVersion, file_version, read_text
from captioner.training.run_folder import RunFolder

SHARE = 0.05
"""The share of the time of one core that reading may take, and that captioning may take."""
RECENT = 100
"""The number of last steps whose words are averaged."""


class Snapshot(NamedTuple):
    """What is known of a run."""

    state: RunState
    history: History
    config: Config | None


class Follower:
    """The state and the history of a run. Nothing in its folder is written or locked."""

    def __init__(self, folder: Path) -> None:
        self.pace = Pace()
        self._folder, self._run, self._activity = folder, RunFolder(folder), Activity()
        self._history = History([], [], [], [])
        self._config: Config | None = None
        self._read: tuple[FileVersion | None, ...] = ()
        self._due = 0.0
        self._existed = False

    def look(self) -> Snapshot:
        """Return what is known of the run now; of a folder that was deleted, what was known last."""
        state = find_state(self._folder, self._activity)
        self._existed = self._existed or state.kind is not Kind.MISSING
        if not self._existed:
            state = RunState(Kind.WAITING, "Waiting for training: the folder does not exist yet.")
        files = self._run.config, self._run.history, self._run.speed
        found, start = tuple(map(file_version, files)), time.perf_counter()
        if state.kind is not Kind.MISSING and found != self._read and start >= self._due:
            history, self._config = read_history(self._folder), _read_config(self._run.config)
            self.pace.observe(state.changed, history.last_step, _mean_words(history), found[0])
            # training records its speed only if it writes a report
            self._history = history if history.speeds else replace(history, speeds=list(self.pace.speeds))
            self._read, self._due = found, start + pause(time.perf_counter() - start)
        return Snapshot(state, self._history, self._config)


def _mean_words(history: History) -> float:
    words = [float(value) for _, value in points(history.steps[-RECENT:], "words")]
    return sum(words) / max(1, len(words))


def pause(seconds: float) -> float:
    """Return how long to wait after work of some seconds, so that it takes at most `SHARE` of the time."""
    return seconds / SHARE


def _read_config(path: Path) -> Config | None:
    try:
        return parse(read_text(path), str(path))
    except CaptionerError:  # the page has the reason from CurrentCaptions
        return None
