"""captioner distill: train a student on the captions of teachers."""

from __future__ import annotations

from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.completion import complete_run
from captioner.cli.interrupts import stop_signals
from captioner.cli.options import PATH, override_option, teacher_override_option
from captioner.cli.ranks import SharedStop, joined, mpi_option, show


@click.command(
    epilog="""\b
Examples:
  captioner distill runs/scenes --run runs/scenes-student --teacher-set decode.beam_width=10
  captioner distill runs/one runs/two --run runs/student --teacher-set decode.beam_width=30
  captioner distill runs/one --captions runs/student --run runs/other -o distill.captions_per_image=5
"""
)
@click.argument("teachers", nargs=-1, required=True, type=PATH, metavar="TEACHER...", shell_complete=complete_run)
@click.option("--run", required=True, type=PATH, metavar="FOLDER", help="Run folder of the student to create.")
@click.option(
    "--captions", type=PATH, metavar="RUN_OR_FILE", shell_complete=complete_run,
    help="Train on the teacher captions of an earlier distillation, instead of generating them again.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an existing run in the run folder.")
@click.option("--profile", is_flag=True, help="At the end, print the time spent on each part of the training.")
@mpi_option
@teacher_override_option
@override_option
def distill(
    teachers: tuple[Path, ...],
    run: Path,
    captions: Path | None,
    overwrite: bool,
    profile: bool,
    mpi: bool,
    teacher_overrides: tuple[str, ...],
    overrides: tuple[str, ...],
) -> int:
    """Train a model on the captions of teachers.

    Sequence-level knowledge distillation: TEACHER (a run, a checkpoint or a model) captions the training images by beam
    search, with consensus re-ranking if its decode.consensus is set; the references of an image are left out of the
    re-ranking of that image (leave-one-out). A student is then trained on the distill.captions_per_image best captions
    of each image. The word probabilities of several teachers are averaged, and the options of the first are used.

    The student starts from the first teacher (-o train.init_from=null: from scratch) and has its options, except: 5
    epochs, learning rate 1e-3 after 50 warm-up steps, EMA decay 0.99, no label smoothing, best checkpoint by CIDEr-D,
    and decoding with beam width 10 without consensus. -o overrides the options of the student, --teacher-set the
    decoding options of the teachers.

    All candidates of the beam are written to captions.h5 in the run folder, for `captioner train --resume` and
    --captions. After an interruption, the same command continues.
    """
    from captioner.training.distill import distill as use_case

    with joined(mpi) as ranks, stop_signals() as caught:
        stop = SharedStop(ranks, caught)
        events = use_case(teachers, run, overrides, teacher_overrides, captions, overwrite, stop, ranks)
        summary = show(events, ranks, profile)
        if stop() and not summary and ranks.rank == 0:
            output.note("stopped while captioning; the same command continues")
    return 128 + stop.signal if stop.signal else 0
