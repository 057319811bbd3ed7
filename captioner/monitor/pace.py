"""The speed and the remaining time of a training run, from the times at which its steps were recorded."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

WINDOW = 200
"""Times that the remaining time is estimated from."""
MAX_SPEEDS = 2000


class Observation(NamedTuple):
    """The time in seconds at which a step was the last one recorded."""

    seconds: float
    step: int


class Pace:
    """The times of the last recorded steps since training began or was resumed.

    `speeds` has a record for each measurement of the words per second, like those of a history.
    """

    def __init__(self) -> None:
        self.speeds: deque[dict[str, Any]] = deque(maxlen=MAX_SPEEDS)
        self._observed: deque[Observation] = deque(maxlen=WINDOW)
        self._session: object = None

    def observe(self, seconds: float, step: int, words: float, session: object) -> None:
        """Note that a step was the last one recorded at a time; steps have `words` words on average.

        Another `session` forgets the times before a break. A later time of the same step ends its validation.
        """
        if session != self._session or (self._observed and step < self._observed[-1].step):
            self._observed.clear()
            while self.speeds and self.speeds[-1]["step"] > step:
                self.speeds.pop()
        self._session = session
        if self._observed and step > self._observed[-1].step and seconds > self._observed[-1].seconds:
            speed = words * (step - self._observed[-1].step) / (seconds - self._observed[-1].seconds)
            self.speeds.append({"step": step, "words_per_second": speed})
        if not self._observed or self._observed[-1] != (seconds, step):
            self._observed.append(Observation(seconds, step))

    def remaining(self, total: int, now: float) -> float | None:
        """Return the seconds until step `total`, with pauses for validation, or None if they are not known yet."""
        if not self._observed or self._observed[-1].step == self._observed[0].step:
            return None
        first, last = self._observed[0], self._observed[-1]
        seconds_per_step = (last.seconds - first.seconds) / (last.step - first.step)
        return max(0.0, last.seconds + (total - last.step) * seconds_per_step - now)
