"""captioner report: write a page about runs."""

from __future__ import annotations

from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.options import PATH, data_option, example_override_option, images_hint, images_option, runs_argument


@click.command(
    epilog="""\b
Examples:
  captioner report runs/scenes --output report.html
  captioner report runs/scenes-attention runs/scenes --output compared.html --split test
  captioner report runs/birds --output birds.html --images photos/ -n 50
"""
)
@runs_argument
@click.option("--output", "path", required=True, type=PATH, metavar="FILE", help="Write the HTML page to FILE.")
@data_option("Score on the data set FILE instead of that of the first run")
@click.option("--split", default="val", show_default=True, metavar="SPLIT", help="Score the captions of SPLIT.")
@images_option("the page")
@click.option(
    "-n", "--number", type=click.IntRange(min=1, max=1000), default=24, show_default=True, metavar="N",
    help="Show at most N images: the best and the worst by CIDEr-D, and some between them.",
)  # fmt: skip
@click.option(
    "--n-best", type=click.IntRange(min=1, max=100), default=5, show_default=True, metavar="N",
    help="Show N captions per image, those of a beam of at least this width. The scores do not depend on it.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an existing --output file.")
@example_override_option("decode.beam_width=5")
def report(
    runs: tuple[Path, ...],
    path: Path,
    data: Path | None,
    split: str,
    images: Path | None,
    number: int,
    n_best: int,
    overwrite: bool,
    overrides: tuple[str, ...],
) -> None:
    """Write an HTML report of runs.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is used, a checkpoint file, or an installed model
    (`captioner models`). The page is one HTML file without references to other files. It contains the scores with 95 %
    confidence intervals, the curves of the training, images with the captions and their attention, the words of the
    captions, gradient norms through time, and the options that differ from the defaults.

    Several runs are compared: their curves are overlaid, the scores of the first run are compared with those of the
    others by the paired bootstrap, and the page shows the captions that differ most in CIDEr-D. The image gallery shows
    the captions of the first run.

    The page contains no paths of this machine. Generated scenes are drawn; photographs are read only from --images.
    """
    from captioner.report.collect import Selection
    from captioner.report.write import write_report

    selection = Selection(overrides, data, split, images, number, n_best)
    done = write_report(path, runs, selection, overwrite)
    output.warnings(done.warnings)
    if done.missing:
        hint = images_hint(done.about, images)
        output.problem(f"{done.missing:,} of {done.shown:,} photographs not found or unreadable; {hint}")
    output.note(f"{path}: written")
