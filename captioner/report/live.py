"""The report of a run that is being trained: from the files of its folder, with a few fixed images.

Nothing is scored again: the curves contain what validation has measured. `with_report` rewrites the page in the
training process, `follow` in another one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from captioner.config.yaml_io import parse_saved
from captioner.data.corpus import Corpus
from captioner.errors import CaptionerError
from captioner.inference.load import open_run
from captioner.inference.restore import Restored
from captioner.optim.schedules import Span
from captioner.preparation.load_corpus import build_corpus
from captioner.report.curves import curves
from captioner.report.gallery import Gallery, caption_fixed_images
from captioner.report.history import History, points
from captioner.report.pictures import pictures_of_split
from captioner.report.report_page import ReportPage, render_page
from captioner.report.report_tables import Figure, figures_of_history
from captioner.report.run_facts import facts_of_folder
from captioner.report.run_watch import Kind, Pace, RunState, RunWatch, clock, duration
from captioner.storage.atomic import write_file
from captioner.storage.files import FileVersion, file_version, read_text
from captioner.training.build import build_plan
from captioner.training.events import Ended, Event, SpeedMeter, Started, Validated, Warned
from captioner.training.run_folder import RunFolder
from captioner.training.solver import Step
from captioner.training.teacher_captions import build_training_corpus

POLL = 2.0
"""Seconds between looks at a run folder."""
SHARE = 0.03
"""The share of the time of one core that writing the page of another process may take."""
RELOAD = 10
"""Seconds between reloads of a page in the browser while training runs."""
GRACE = 3.0
"""Seconds until an ended run is looked at again: a process that resumes it takes the lock only after its start-up."""
RECENT = 100
"""The number of last steps whose words are averaged."""


class LiveReport:
    """The report of a run folder; its fixed images are captioned again only if the last checkpoint was replaced.

    Photographs are read only from the folder `images`. With `threads`, captioning uses that many instead of those of
    the run. `problem` says why images are not captioned by the last checkpoint, if they are not.
    """

    def __init__(self, folder: Path, images: Path | None = None, threads: int | None = None) -> None:
        self.folder, self.run, self.pace = folder, RunFolder(folder), Pace()
        self.problem = ""
        self._images, self._threads = images, threads
        self._corpus: Corpus | None = None
        self._span: Span | None = None
        self._config: tuple[FileVersion | None, bool] | None = None
        self._checkpoint: FileVersion | None = None
        self._loaded: Restored | None = None
        self._gallery: Gallery | None = None
        self._page: ReportPage | None = None

    def use(self, corpus: Corpus | None, span: Span | None) -> None:
        """Set the data set of the run and the length of its training."""
        self._corpus, self._span, self._checkpoint = corpus, span, None

    def load(self) -> None:
        """Load the data set of the run, unless it is that of the same config: `resume` may write another one.

        The first checkpoint has the vocabulary of a fine-tuned model, so the data set is loaded again with it.
        """
        version = file_version(self.run.config), self.run.last.exists()
        if version == self._config:
            return
        self._config = version
        self.use(None, None)
        try:
            config = parse_saved(read_text(self.run.config), str(self.run.config))
            is_tuned = config.train.init_from is not None and self.run.last.exists()
            corpus = build_corpus(config, open_run(self.run.last).vocab if is_tuned else None)
            train = build_training_corpus(config, corpus, self.run.captions).split("train")
            self.use(corpus, build_plan(config, train).span)
        except CaptionerError as error:
            self.problem = str(error)

    def render(self, is_running: bool, ending: str = "", recorded: float = 0.0) -> bytes:
        """Render the page; `ending` describes a run whose summary does not.

        `recorded` is the time of the last record in seconds, if the history is the only source of the pace.

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
        if recorded:
            self.pace.observe(recorded, history.last_step, file_version(self.run.config))
        page = ReportPage(
            facts.name,
            [facts],
            curves({facts.name: history}),
            "" if facts.has_ended else ending,
            figures=figures_of_history(history),
            gallery=self._gallery,
        )
        if is_running:
            page = replace(
                page,
                status=self._status(history),
                progress=None if self._span is None else (history.last_step, self._span.total_steps),
                reload=RELOAD,
                figures=[*self._speed(history, time.time()), *page.figures],
            )
        self._page = page
        return render_page(page)

    def render_last(self, status: str) -> bytes | None:
        """Render the last page again without reloads and with another status; None if there was none."""
        page = self._page
        return None if page is None else render_page(replace(page, status=status, progress=None, reload=0))

    def _caption(self) -> tuple[Restored, Gallery | None]:
        """Return the model of the last checkpoint, and the fixed images with its captions."""
        loaded = open_run(self.run.last)
        if self._corpus is None:
            return loaded, None
        name, threads = loaded.config.validate.split, self._threads or loaded.config.threads
        pictures = pictures_of_split(self._corpus, name, self._images)
        light = replace(loaded, config=replace(loaded.config, threads=threads))
        gallery = caption_fixed_images(light, self._corpus, name, pictures)
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


def follow(folder: Path, path: Path, images: Path | None = None) -> Iterator[RunState | str]:
    """Rewrite the report of a run folder at `path` while another process trains in it, and once more at the end.

    Yield the problems of images that cannot be captioned, and the state at the end. However following ends, the page
    does not reload itself afterwards.

    Raises: CaptionerError if the run was deleted, or the page cannot be written.
    """
    live = LiveReport(folder, images, threads=1)
    try:
        yield from _follow(RunWatch(folder), live, path)
    except (CaptionerError, KeyboardInterrupt):
        with suppress(CaptionerError):  # the folder of the page may be gone
            if (page := live.render_last("no longer followed")) is not None:
                write_file(path, page)
        raise


def _follow(watch: RunWatch, live: LiveReport, path: Path) -> Iterator[RunState | str]:
    run, problem, due, existed = live.run, "", 0.0, False
    seen: tuple[FileVersion | None, ...] | None = None
    if watch.look().kind is Kind.ENDED:
        time.sleep(GRACE)
    while True:
        state = watch.look()
        has_run = state.kind not in (Kind.MISSING, Kind.WAITING)
        if existed and not has_run:
            raise CaptionerError(f"{live.folder}: the run was moved or deleted")
        existed = has_run
        has_ended = state.kind in (Kind.ENDED, Kind.LOST)
        versions = tuple(map(file_version, (run.config, run.history, run.last)))
        if (versions[0] or versions[2]) and (has_ended or (versions != seen and time.perf_counter() >= due)):
            try:
                if seen is None and not has_ended:  # first without captions: to load the data set may take a while
                    write_file(path, live.render(True, recorded=state.changed))
                live.load()
                start, seen = time.perf_counter(), versions
                # without the command to resume, which has a path of this machine
                write_file(path, live.render(not has_ended, state.text.partition(";")[0], state.changed))
            except CaptionerError:
                if watch.look().kind is Kind.MISSING:  # deleted after the look above
                    continue
                raise
            due = start + (time.perf_counter() - start) / SHARE
            if live.problem != problem:
                problem = live.problem
                if problem:
                    yield problem
        if has_ended:
            yield state
            return
        time.sleep(POLL)
