"""The report of a run that is being trained: from the files of its folder, with a few fixed images.

Nothing is scored again: the curves contain what validation has measured.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from captioner.data.corpus import Corpus
from captioner.errors import CaptionerError
from captioner.inference.load import open_run
from captioner.inference.restore import Restored
from captioner.optim.schedules import Span
from captioner.report.curves import curves
from captioner.report.gallery import Gallery, caption_fixed_images
from captioner.report.pictures import pictures_of_split
from captioner.report.report_page import ReportPage, render_page
from captioner.report.report_tables import Figure, figures_of_history
from captioner.report.run_facts import History, facts_of_folder, points
from captioner.storage.atomic import write_file
from captioner.storage.files import FileVersion, file_version
from captioner.training.events import Ended, Event, SpeedMeter, Started, Validated, Warned
from captioner.training.run_folder import RunFolder
from captioner.training.solver import Step

RELOAD = 10
"""Seconds between reloads of a page in the browser while training runs."""
RECENT = 100
"""The number of last steps whose words are averaged."""
WINDOW = 200
"""Times that the remaining time is estimated from."""
UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class LiveReport:
    """The report of a run folder; its fixed images are captioned again only if the last checkpoint was replaced.

    Photographs are read only from the folder `images`. `problem` says why images are not captioned by the last
    checkpoint, if they are not.
    """

    def __init__(self, folder: Path, images: Path | None = None) -> None:
        self.folder, self.run, self.pace = folder, RunFolder(folder), Pace()
        self.problem = ""
        self._images = images
        self._corpus: Corpus | None = None
        self._span: Span | None = None
        self._checkpoint: FileVersion | None = None
        self._loaded: Restored | None = None
        self._gallery: Gallery | None = None

    def use(self, corpus: Corpus, span: Span | None) -> None:
        """Set the data set of the run and the length of its training."""
        self._corpus, self._span, self._checkpoint = corpus, span, None

    def render(self, is_running: bool) -> bytes:
        """Render the page.

        Raises: CaptionerError if the folder has neither a config nor a checkpoint.
        """
        version = file_version(self.run.last)
        if version != self._checkpoint:
            self._checkpoint = version
            try:
                self._loaded, self._gallery = (None, None) if version is None else self._caption()
            except CaptionerError as error:  # the old captions remain
                self.problem = str(error)
        facts = facts_of_folder(self.folder, self._loaded)
        history = facts.history
        figures = figures_of_history(history)
        page = ReportPage(facts.name, [facts], curves({facts.name: history}), figures=figures, gallery=self._gallery)
        if is_running:
            page = replace(
                page,
                status=self._status(history),
                progress=None if self._span is None else (history.last_step, self._span.total_steps),
                reload=RELOAD,
                figures=[*self._speed(history, time.time()), *figures],
            )
        return render_page(page)

    def _caption(self) -> tuple[Restored, Gallery | None]:
        """Return the model of the last checkpoint, and the fixed images with its captions."""
        loaded = open_run(self.run.last)
        if self._corpus is None:
            return loaded, None
        name = loaded.config.validate.split
        gallery = caption_fixed_images(loaded, self._corpus, name, pictures_of_split(self._corpus, name, self._images))
        self.problem = ""
        return loaded, gallery

    def _status(self, history: History) -> str:
        step, epoch, span = history.last_step, history.last_epoch, self._span
        if not step:
            return "training has begun: no step is recorded yet"
        if span is None:
            return f"training: step {step:,}, epoch {epoch:,}"
        total, epochs = span.total_steps, -(-span.total_steps // span.steps_per_epoch)
        return f"training: step {step:,} of {total:,} ({100 * step / total:.0f} %), epoch {epoch:,} of {epochs:,}"

    def _speed(self, history: History, now: float) -> Iterator[Figure]:
        """Yield the remaining time and the speed, once they are measured."""
        left = None if self._span is None else self.pace.remaining(self._span.total_steps, now)
        if left is not None:
            yield Figure("Time left", duration(left), f"until {clock(now + left, now)}")
        words = [value for _, value in points(history.steps[-RECENT:], "words")]
        if words and self.pace.steps_per_second is not None:
            speed = self.pace.steps_per_second * sum(words) / len(words)
            yield Figure("Speed", f"{speed:,.0f}", "words per second")


class Pace:
    """(time, step) pairs since training started or resumed.

    `steps_per_second` is the last measurement, without the time of validation; None before it.
    """

    def __init__(self) -> None:
        self.steps_per_second: float | None = None
        self._observed: deque[tuple[float, int]] = deque(maxlen=WINDOW)

    def observe(self, seconds: float, step: int) -> None:
        """Note the last step at a time in seconds. A later time of the same step ends its validation."""
        if self._observed and step > self._observed[-1][1] and seconds > self._observed[-1][0]:
            self.steps_per_second = (step - self._observed[-1][1]) / (seconds - self._observed[-1][0])
        self._observed.append((seconds, step))

    def remaining(self, total: int, now: float) -> float | None:
        """Return the seconds until step `total`, with pauses for validation, or None if they are not known yet."""
        if not self._observed or self._observed[-1][1] == self._observed[0][1]:
            return None
        (began, first), (last_time, last) = self._observed[0], self._observed[-1]
        return max(0.0, last_time + (total - last) * (last_time - began) / (last - first) - now)


def duration(seconds: float) -> str:
    """Write a duration with its two largest units, such as `2 h 5 min` or `40 s`."""
    whole = max(0, round(seconds))
    for (size, unit), (smaller, name) in pairwise(UNITS):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {name}"
    return f"{whole} s"


def clock(seconds: float, now: float) -> str:
    """Write a time since the epoch as local time, with its date if it is not today."""
    then, today = time.localtime(seconds), time.localtime(now)
    return time.strftime("%H:%M" if then[:3] == today[:3] else "%Y-%m-%d %H:%M", then)


def with_report(events: Iterator[Event], folder: Path, images: Path | None = None) -> Iterator[Event]:
    """Pass on the events of a training run, and rewrite its report after every validation and at the end.

    A failure is one warning, and training continues; the next validation tries again. The speed of training is written
    to speed.jsonl, because the history has no times: it equals that of an uninterrupted run.
    """
    live, speed, warned, log_every = LiveReport(folder, images), SpeedMeter(), False, 0

    def write(is_running: bool) -> None:
        write_file(live.run.report, live.render(is_running))
        if live.problem:
            raise CaptionerError(live.problem)

    try:
        for event in events:
            yield event
            try:
                match event:
                    case Started():
                        log_every = event.config.train.log_every
                        live.use(event.corpus, Span(event.total_steps, event.steps_per_epoch))
                        live.pace.observe(time.time(), event.step)
                        speed.restart()
                    case Step():
                        speed.add(event.words)
                        if event.step % log_every == 0:
                            live.pace.observe(time.time(), event.step)
                            record = {"step": event.step, "words_per_second": round(speed.restart(), 1)}
                            live.run.append(live.run.speed, record)
                    case Validated():
                        write(is_running=True)
                        live.pace.observe(time.time(), event.step)
                        speed.restart()
                    case Ended() if log_every:  # otherwise, there was nothing left to train
                        write(is_running=False)
            except Exception as error:  # training is worth more than any error of the report
                if not warned:
                    warned = True
                    step = getattr(event, "step", 0)
                    reason = str(error) or type(error).__name__
                    yield Warned(step, f"--report: {reason}; training continues")
    except CaptionerError:  # such as a divergence: the page must not reload itself any more
        if live.run.report.exists():
            with suppress(Exception):
                write(is_running=False)
        raise
