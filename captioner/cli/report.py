"""captioner report: write a page about runs."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click
from click.core import ParameterSource

from captioner.cli import output
from captioner.cli.shared_options import (
    PATH,
    data_option,
    example_override_option,
    examples,
    images_option,
    n_best_option,
    report_missing,
    runs_argument,
)
from captioner.errors import UsageError

SCORING = {"data": "--data", "split": "--split", "number": "-n", "n_best": "--n-best", "overrides": "-o"}
"""Options that --follow does not have: it scores nothing, and shows always the same images."""
NICE = 5
"""The priority of training is higher by this number."""


@click.command(
    epilog=examples(
        "report runs/scenes --output report.html",
        "report runs/scenes-attention runs/scenes --output compared.html --split test",
        "report runs/birds --output birds.html --images photos/ -n 50",
        "report runs/scenes --follow      # while it is trained",
    )
)
@runs_argument
@click.option(
    "--output", "path", type=PATH, metavar="FILE",
    help="Write the HTML page to FILE; needed without --follow.  [default with --follow: report.html in RUN]",
)  # fmt: skip
@click.option(
    "--follow", is_flag=True,
    help="Rewrite the page of one run folder while it is trained, until its training ends. The page shows the progress "
    "and captions of eight images, and reloads itself in the browser.",
)  # fmt: skip
@data_option("Score on the data set FILE instead of that of the first run")
@click.option("--split", default="val", metavar="SPLIT", help="Score the captions of SPLIT.")
@images_option("the page")
@click.option(
    "-n", "--number", type=click.IntRange(min=1, max=1000), default=24, metavar="N",
    help="Show at most N images: the best and the worst by CIDEr-D, and some between them.",
)  # fmt: skip
@n_best_option(5, "Show N captions per image, those of a beam of at least this width. The scores do not depend on it.")
@click.option("--overwrite", is_flag=True, help="Replace an existing --output file.")
@example_override_option("decode.beam_width=5")
@click.pass_context
def report(
    context: click.Context, runs: tuple[Path, ...], path: Path | None, follow: bool, data: Path | None, split: str,
    images: Path | None, number: int, n_best: int, overwrite: bool, overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Write an HTML report of runs.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is used, a checkpoint file, or an installed model
    (`captioner models`). The page is one HTML file without references to other files. It contains the scores with 95 %
    confidence intervals, the curves of the training, images with the captions and their attention, the words of the
    captions, gradient norms through time, and the options that differ from the defaults.

    Several runs are compared: their curves are overlaid, the scores of the first run are compared with those of the
    others by the paired bootstrap, and the page shows the captions that differ most in CIDEr-D. The image gallery shows
    the captions of the first run.

    With --follow, RUN is a folder that `captioner train` writes in another process or will create. Training is not
    disturbed: apart from the page, nothing in RUN is written or locked, and the command uses a small share of one core.
    Ctrl-C ends it; training continues.

    The page contains no paths of this machine. Generated scenes are drawn; photographs are read only from --images.
    """
    if follow:
        _follow(context, runs, path, images, overwrite)
        return
    if path is None:
        raise UsageError("--output: missing; name the file of the page")
    from captioner.report.report_page import Selection, write_report

    selection = Selection(overrides, data, split, images, number, n_best)
    done = write_report(path, runs, selection, overwrite)
    output.warnings(done.warnings)
    if gallery := done.page.gallery:
        report_missing(gallery.missing, len(gallery.entries), done.about, images)
    output.note(f"{path}: written")


def _follow(
    context: click.Context, runs: tuple[Path, ...], path: Path | None, images: Path | None, overwrite: bool
) -> None:
    """Rewrite the page of a run until its training ends."""
    command_line = ParameterSource.COMMANDLINE
    unused = [option for name, option in SCORING.items() if context.get_parameter_source(name) is command_line]
    if unused:
        raise UsageError(f"--follow shows what validation measures; remove {', '.join(sorted(unused))}")
    if len(runs) > 1:
        raise UsageError(f"--follow: expected one run folder, got {len(runs)}")
    (run,) = runs
    waiting = _check_run(run)
    from captioner.parallel.blas import set_threads
    from captioner.report.live import follow
    from captioner.report.template import is_page
    from captioner.storage.files import check_images_folder, check_output

    check_images_folder(images)
    page = path or run / "report.html"
    if path is not None or page.exists():  # the page in the run folder is that of `train --report`
        check_output(page, overwrite or path is None, "an HTML page", is_page)
    set_threads(1)
    if hasattr(os, "nice"):
        os.nice(NICE)
    output.note(f"{waiting or page} (Ctrl-C to end)")
    for event in follow(run, page, images):
        if isinstance(event, str):
            output.problem(f"{event}; the page shows no newer captions")
        else:
            output.note(f"{run}: {event.text}")
    output.note(f"{page}: written")


def _check_run(run: Path) -> str:
    """Return a line for a run folder that does not exist yet, or an empty text.

    Raises: UsageError unless `run` is a run folder, or will be one: an empty folder, or a name in an existing folder.
    """
    from captioner.inference.find_checkpoint import nearest_runs
    from captioner.training.run_folder import LOCK, RunFolder

    if os.path.isfile(run):
        remedy = f"; try captioner report {shlex.quote(str(run.parent))} --follow"
        remedy = remedy if RunFolder(run.parent).holds_run() else ""
        raise UsageError(f"{run}: expected a run folder, got a file{remedy}")
    hint = nearest_runs(run)
    if not os.path.isdir(run):
        if not os.path.isdir(run.parent):
            raise UsageError(f"{run}: folder not found; expected a run folder{hint}")
        return f"{run}: not found yet; waiting for a training run{hint}"
    folder = RunFolder(run)
    if folder.best.exists() and not folder.last.exists() and not folder.history.exists():
        raise UsageError(
            f"{run}: an imported model has no training to follow; "
            f"try captioner report {shlex.quote(str(run))} --output report.html"
        )
    if not folder.holds_run() and not folder.captions.exists() and set(os.listdir(run)) - {LOCK}:
        raise UsageError(f"{run}: expected a run folder from `captioner train`, got one with other files{hint}")
    return ""
