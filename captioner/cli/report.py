"""captioner report: write a page about runs."""

from __future__ import annotations

from pathlib import Path

import click

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


@click.command(
    epilog=examples(
        "report runs/scenes --output report.html",
        "report runs/scenes-attention runs/scenes --output compared.html --split test",
        "report runs/birds --output birds.html --images photos/ -n 50",
    )
)
@runs_argument
@click.option("--output", "path", type=PATH, required=True, metavar="FILE", help="Write the HTML page to FILE.")
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
def report(
    runs: tuple[Path, ...], path: Path, data: Path | None, split: str, images: Path | None, number: int, n_best: int,
    overwrite: bool, overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Write an HTML report of runs.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is used, a checkpoint file, or an installed model
    (`captioner models`). The page is one HTML file without references to other files. It contains the scores with 95 %
    confidence intervals, the curves of the training, images with the captions and their attention, and the
    options that differ from the defaults.

    Several runs are compared: their curves are overlaid, the scores of the first run are compared with those of the
    others by the paired bootstrap, and the page shows the captions that differ most in CIDEr-D. The image gallery shows
    the captions of the first run.

    The page contains no paths of this machine. Generated scenes are drawn; photographs are read only from --images.
    """
    from captioner.report.report_page import Selection, write_report

    selection = Selection(overrides, data, split, images, number, n_best)
    done = write_report(path, runs, selection, overwrite)
    output.warnings(done.warnings)
    if gallery := done.page.gallery:
        report_missing(gallery.missing, len(gallery.entries), done.about, images)
    output.note(f"{path}: written")
