"""The report of a run that is being trained: from the files of its folder, with a few fixed images.

Nothing is scored again: the curves contain what validation has measured. `live_page` needs only the folder, so that
other programs can follow a training too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from captioner.data.corpus import Corpus
from captioner.inference.attention_files import pictures_of_split
from captioner.inference.captioner import Captioner
from captioner.inference.find_checkpoint import LAST
from captioner.inference.load import open_run
from captioner.inference.restore import Restored, check_corpus
from captioner.pages.template import write_page
from captioner.report.curves import curves
from captioner.report.gallery import Gallery, build_gallery
from captioner.report.page import Page, render_page
from captioner.report.run_facts import facts_of_folder
from captioner.report.scores import figures_of_history
from captioner.report.thinning import evenly
from captioner.training.events import Ended, Event, Started, Validated, Warned
from captioner.training.run_folder import RunFolder
from captioner.training.solver import Step
from captioner.training.stopwatch import SpeedMeter

SHOWN = 8
"""Images of a live report: the same ones at every validation."""
N_BEST = 3


def live_page(
    folder: Path, corpus: Corpus | None = None, total_steps: int | None = None, images: Path | None = None
) -> bytes:
    """Render the report of a run folder while it is trained, from history, config and last checkpoint.

    Images of the data set `corpus` are captioned by the last checkpoint, if both exist. Photographs are read only from
    the folder `images`.

    Raises: CaptionerError if the folder has neither a config nor a checkpoint, or if a file is damaged.
    """
    loaded = _last(folder)
    facts = facts_of_folder(folder, loaded)
    gallery = None if corpus is None or loaded is None else _gallery(loaded, corpus, images)
    step, epoch = facts.history.last_step, facts.history.last_epoch
    of = f" of {total_steps:,}" if total_steps is not None else ""
    status = f"training: step {step:,}{of}, epoch {epoch:,}" if not facts.has_ended else ""
    figures = figures_of_history(facts.history)
    return render_page(Page(facts.name, [facts], curves({facts.name: facts.history}), status, figures, gallery=gallery))


def write_live_page(
    folder: Path, corpus: Corpus | None = None, total_steps: int | None = None, images: Path | None = None
) -> Path:
    """Write the report of a run folder to report.html in it, atomically, and return its path.

    Raises: as `live_page`; CaptionerError if the file cannot be written.
    """
    path = RunFolder(folder).report
    write_page(path, live_page(folder, corpus, total_steps, images))
    return path


def with_report(events: Iterator[Event], folder: Path, images: Path | None = None) -> Iterator[Event]:
    """Pass on the events of a training, and rewrite its report after every validation and at the end.

    A failure is one warning, and training goes on; the next validation tries again. The speed of training is written
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
    """Caption the fixed images, without consensus re-ranking: its index is expensive to build."""
    check_corpus(loaded, corpus)
    name = loaded.config.validate.split
    split = corpus.split(name)
    rows = evenly(split.captioned_images.tolist(), SHOWN)
    pictures = pictures_of_split(corpus, name, images)
    return build_gallery(Captioner(loaded), corpus, name, rows, pictures, N_BEST)
