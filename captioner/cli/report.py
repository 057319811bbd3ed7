"""captioner report: write a page about a run."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.shared_options import (
    PATH,
    caption_options,
    data_option,
    example_override_option,
    examples,
    run_argument,
)
from captioner.config.overrides import Values


@click.command(
    epilog=examples(
        "report runs/scenes --output report.html",
        "report runs/scenes-attention --output attention.html --split test",
        "report runs/birds --output birds.html --images photos/ -n 50",
    )
)
@run_argument
@click.option("--output", "path", type=PATH, required=True, metavar="FILE", help="Write the HTML page to FILE.")
@data_option("Score on the data set FILE instead of that of the run")
@click.option("--split", default="val", metavar="SPLIT", help="Score the captions of SPLIT.")
@click.option(
    "--images", type=PATH, metavar="FOLDER",
    help="Folder of the photographs for the page; files outside it are not read.",
)  # fmt: skip
@click.option(
    "-n", "--number", type=click.IntRange(min=1, max=1000), default=24, metavar="N",
    help="Show at most N images: the best and the worst by CIDEr-D, and some between them.",
)  # fmt: skip
@caption_options("n_best")
@click.option("--overwrite", is_flag=True, help="Replace an existing --output file.")
@example_override_option("decode.beam_width=5")
def report(
    run: Path, path: Path, data: Path | None, split: str, images: Path | None, number: int,
    overwrite: bool, overrides: Values,
) -> None:  # fmt: skip
    """Write an HTML report of a run.

    RUN_OR_MODEL is a run folder, whose best checkpoint is used, or a model file. The run may still be in training. The
    page is one HTML file without references to other files. It contains the scores with 95 % confidence intervals, the
    curves of the training, images with five captions each (--n-best) and their attention, and the options that differ
    from the defaults. To compare runs, use `captioner evaluate`.

    The page contains no paths of this machine. Generated scenes are drawn; photographs are read only from --images.
    """
    from captioner.report.page import write_report

    done = write_report(path, run, overrides, data=data, split=split, images=images, shown=number, overwrite=overwrite)
    output.warnings(done.warnings)
    if missing := done.gallery.missing:
        folder = done.about.get("images")
        example = f", such as --images {shlex.quote(folder)}" if images is None and isinstance(folder, str) else ""
        problem = f"{missing:,} of {len(done.gallery.entries):,} photographs not found or unreadable"
        output.problem(f"{problem}; set their folder with --images{example}")
    output.note(f"{path}: written")
