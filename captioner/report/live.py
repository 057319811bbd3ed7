"""The report of a run that is being trained: from the files of its folder, with a few fixed images.

Nothing is scored again: the curves contain what validation has measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from captioner.data.corpus import Corpus
from captioner.errors import CaptionerError
from captioner.inference.load import open_run
from captioner.inference.restore import Restored
from captioner.optim.schedules import Span
from captioner.report.chart import curves
from captioner.report.gallery import Gallery, caption_fixed_images
from captioner.report.pictures import pictures_of_split
from captioner.report.report_page import ReportPage, render_page
from captioner.report.report_tables import Figure, figures_of_history
from captioner.report.run_facts import History, facts_of_folder
from captioner.storage.atomic import write_file
from captioner.storage.files import FileVersion, file_version
from captioner.training.events import Ended, Event, Started, Validated, Warned
from captioner.training.run_folder import RunFolder

RELOAD = 10
"""Seconds between reloads of a page in the browser while training runs."""


class LiveReport:
    """The report of a run folder; its fixed images are captioned again only if the last checkpoint was replaced.

    Photographs are read only from the folder `images`. `problem` says why images are not captioned by the last
    checkpoint, if they are not.
    """

    def __init__(self, folder: Path, images: Path | None = None) -> None:
        self.folder, self.run = folder, RunFolder(folder)
        self.problem = ""
        self._images = images
        self._corpus: Corpus | None = None
        self._span: Span | None = None
        self._began, self._first = time.time(), 0
        self._checkpoint: FileVersion | None = None
        self._loaded: Restored | None = None
        self._gallery: Gallery | None = None

    def use(self, corpus: Corpus, span: Span, first: int = 0) -> None:
        """Set the data set of the run, the length of its training, and the step from which it continues now."""
        self._corpus, self._span, self._checkpoint = corpus, span, None
        self._began, self._first = time.time(), first

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
                figures=[*self._time_left(history), *figures],
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

    def _time_left(self, history: History) -> Iterator[Figure]:
        """Yield the remaining time, with pauses for validation, once a step is recorded."""
        if self._span is not None and (done := history.last_step - self._first) > 0:
            left = (time.time() - self._began) * (self._span.total_steps - history.last_step) / done
            yield Figure("Time left", tqdm.format_interval(left), "estimated")


def with_report(events: Iterator[Event], folder: Path, images: Path | None = None) -> Iterator[Event]:
    """Pass on the events of a training run, and rewrite its report after every validation and at the end.

    A failure is one warning, and training continues; the next validation tries again.
    """
    live, warned, has_started = LiveReport(folder, images), False, False

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
                        has_started = True
                        live.use(event.corpus, Span(event.total_steps, event.steps_per_epoch), event.step)
                    case Validated():
                        write(is_running=True)
                    case Ended() if has_started:  # otherwise, there was nothing left to train
                        write(is_running=False)
            except Exception as error:  # training is worth more than any error of the report
                if not warned:
                    warned = True
                    step = getattr(event, "step", 0)
                    reason = str(error) or type(error).__name__
                    yield Warned(step, f"--report: {reason}; training continues")
    except CaptionerError:  # such as a divergence: the page must not reload itself any more
        if has_started and live.run.report.exists():  # otherwise, the page is that of another run
            with suppress(Exception):
                write(is_running=False)
        raise
