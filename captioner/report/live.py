"""The report of a run that is being trained: from the files of its folder, with a few fixed images.

Nothing is scored again: the curves contain what validation has measured. `live_page` needs only the
folder and its data set, so that other programs can follow a training run too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from captioner.data.corpus import Corpus
from captioner.inference.find_checkpoint import LAST
from captioner.inference.load import open_run
from captioner.inference.restore import Restored
from captioner.report.curves import curves
from captioner.report.fixed_images import caption_fixed_images, fixed_rows
from captioner.report.gallery import Gallery
from captioner.report.page import ReportPage, render_page
from captioner.report.pictures import pictures_of_split
from captioner.report.run_facts import facts_of_folder
from captioner.report.scores import figures_of_history
from captioner.report.template import write_page
from captioner.training.events import Ended, Event, SpeedMeter, Started, Validated, Warned
from captioner.training.run_folder import RunFolder
from captioner.training.solver import Step


def live_page(folder: Path, corpus: Corpus, total_steps: int, images: Path | None = None) -> bytes:
    """Render the report of a run folder while it is trained, from history, config and last checkpoint.

    Images of its data set `corpus` are captioned by the last checkpoint, if there is one. Photographs are read only
    from the folder `images`.

    Raises: CaptionerError if the folder has neither a config nor a checkpoint, or if a file is damaged.
    """
    loaded = _last(folder)
    facts = facts_of_folder(folder, loaded)
    gallery = None if loaded is None else _gallery(loaded, corpus, images)
    step, epoch = facts.history.last_step, facts.history.last_epoch
    status = f"training: step {step:,} of {total_steps:,}, epoch {epoch:,}" if not facts.has_ended else ""
    figures = figures_of_history(facts.history)
    return render_page(
        ReportPage(facts.name, [facts], curves({facts.name: facts.history}), status, figures, gallery=gallery)
    )


def write_live_page(folder: Path, corpus: Corpus, total_steps: int, images: Path | None = None) -> Path:
    """Write the report of a run folder to report.html in it, atomically, and return its path.

    Raises: as `live_page`; CaptionerError if the file cannot be written.
    """
    path = RunFolder(folder).report
    write_page(path, live_page(folder, corpus, total_steps, images))
    return path


def with_report(events: Iterator[Event], folder: Path, images: Path | None = None) -> Iterator[Event]:
    """Pass on the events of a training run, and rewrite its report after every validation and at the end.

    A failure is one warning, and training continues; the next validation tries again. The speed of training is written
    to speed.jsonl, because the history has no times: it equals that of an uninterrupted run.
    """
    run, speed, warned = RunFolder(folder), SpeedMeter(), False
    started: Started | None = None
    for event in events:
        yield event
        try:
            match event:
                case Started():
                    started = event
                    speed.restart()
                case Step():
                    speed.add(event.words)
                    if started is not None and event.step % started.config.train.log_every == 0:
                        run.append(run.speed, {"step": event.step, "words_per_second": round(speed.restart(), 1)})
                case Validated() | Ended() if started is not None:
                    write_live_page(folder, started.corpus, started.total_steps, images)
                    speed.restart()
        except Exception as error:  # training is worth more than any error of the report
            if not warned:
                warned = True
                step = getattr(event, "step", 0)
                reason = str(error) or type(error).__name__
                yield Warned(step, f"--report: {reason}; training continues")


def _last(folder: Path) -> Restored | None:
    """Restore the last checkpoint of a run without its optimizer state, or return None if there is none yet."""
    path = folder / LAST
    return open_run(path) if path.exists() else None


def _gallery(loaded: Restored, corpus: Corpus, images: Path | None) -> Gallery:
    name = loaded.config.validate.split
    pictures = pictures_of_split(corpus, name, images)
    return caption_fixed_images(loaded, corpus, name, fixed_rows(corpus.split(name)), pictures)
