"""captioner train: train a model, or resume a run."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import click

from captioner.cli import output
from captioner.cli.processes import SharedStop, exit_code_of, joined, stop_signals
from captioner.cli.shared_options import PATH, config_options, examples, overriding
from captioner.config.overrides import Values, checked_values
from captioner.errors import UsageError


@click.command(
    epilog=examples(
        "train                       # generated scenes, into runs/scenes",
        "train -c scenes-rnn -o train.epochs=3",
        "train -c photos --data birds.h5",
        "train --resume runs/scenes -o train.epochs=20",
        "train --resume-or-start runs/scenes-lstm -c scenes-lstm",
        "train --overfit 50          # check model and optimizer, into runs/scenes-overfit",
    )
)
@config_options
@click.option(
    "--data", type=PATH, metavar="FILE",
    callback=overriding(lambda file: checked_values({"data.source": "prepared", "data.root": file})),
    help="Train on FILE, written by `captioner prepare`; short for -o data.source=prepared -o data.root=FILE.",
)  # fmt: skip
@click.option(
    "--run", type=PATH, metavar="FOLDER",
    help="Run folder to create.  [default: runs/NAME; NAME is the name of the --data file, else that of the config "
    "file, else data.source]",
)  # fmt: skip
@click.option(
    "--resume", type=PATH, metavar="FOLDER",
    help="Resume the run in FOLDER from its last checkpoint; train.epochs is the total, including past epochs.",
)  # fmt: skip
@click.option(
    "--resume-or-start", type=PATH, metavar="FOLDER",
    help="Resume the run in FOLDER if it has a checkpoint, else start it; if it has ended, do nothing. For schedulers, "
    "which repeat a command.",
)  # fmt: skip
@click.option(
    "--overfit", type=click.IntRange(1), metavar="N",
    help="Check that the model can overfit N captions, in the run folder runs/NAME-overfit.",
)  # fmt: skip
@click.option(
    "--overwrite", is_flag=True, help="Rename a run that exists already to FOLDER.old, replacing an older one."
)
@click.option(
    "--mpi", is_flag=True,
    help="Data-parallel training: split each batch among the MPI ranks that mpiexec or srun started. train.batch_size "
    "is the global batch size. Needs the extra mpi.",
)  # fmt: skip
def train(
    config_file: Path | None, overrides: Values, data: Path | None, run: Path | None, resume: Path | None,
    resume_or_start: Path | None, overfit: int | None, overwrite: bool, mpi: bool,
) -> int:  # fmt: skip
    """Train a captioning model.

    The run folder contains the effective config.yaml, history.jsonl, last.h5 and best.h5. After Ctrl-C, the current
    step is finished and a checkpoint is saved.

    --overfit trains on captions of N different images, from train.init_from if it is set, without regularization and at
    a constant learning rate: other options are an error with -o, and ignored in a config file. It ends when their loss
    is below 0.1, or after 1,000 steps (-o train.max_steps) with exit code 1. As in CS231n, the loss is summed over the
    words of a caption and averaged over captions.

    With --mpi, several processes train one model, each on its part of every batch: mpiexec -n 4 captioner train --mpi.
    """
    from captioner.cli import progress
    from captioner.config.yaml_io import load
    from captioner.files.user_files import is_text, read_start
    from captioner.training import overfit as overfitting
    from captioner.training import resume as resuming
    from captioner.training import train as training

    with joined(mpi) as ranks, stop_signals() as caught:
        stop = SharedStop(ranks, caught)
        hint = f"; if the data set has moved: -o data.root={shlex.quote(str(data))}" if data else ""
        for wrong, message in (
            (resume_or_start is not None and (resume or run or overfit or overwrite),
             "--resume-or-start sets the run folder; leave out --run, --resume, --overfit and --overwrite"),
            (resume is not None and (config_file or data or run or overfit or overwrite),
             f"--resume uses the config and folder of the run; combine it only with -o and --mpi{hint}"),
        ):  # fmt: skip
            if wrong:
                raise UsageError(message)
        if data and (data.is_dir() or is_text(read_start(data, 512) or b"\0")):
            table = shlex.quote(os.fspath(data / "captions.csv" if data.is_dir() else data))
            raise UsageError(f"{data}: expected a file of `captioner prepare`; write one: captioner prepare {table}")
        if resume is not None:
            events = resuming.resume(resume, overrides, stop, ranks)
        elif resume_or_start is not None:
            config = load(config_file, overrides)
            events = resuming.resume_or_start(config, resume_or_start, overrides, stop, ranks)
        else:
            config = load(config_file, overrides)
            if overfit is not None:
                config = overfitting.overfit_config(config, overfit, overrides)
            name = data.stem if data else config_file.stem if config_file else config.data.source
            folder = run or Path("runs") / (name if overfit is None else f"{name}-overfit")
            start = training.train if overfit is None else overfitting.overfit
            events = start(config, folder, overwrite, stop, ranks=ranks)
        summary = progress.show_training(events, is_quiet=ranks.rank != 0)
        stop()  # a signal may have arrived after the last step
    if stop.signal:
        return exit_code_of(stop.signal)
    if overfit is None:
        return 0
    with output.ignoring_a_closed_pipe():
        if ranks.rank == 0:
            output.result(_verdict(summary))
    return 0 if summary["overfit"]["passed"] else 1


def _verdict(summary: dict[str, Any]) -> str:
    """Describe the outcome of overfitting, and what to try if it failed."""
    from captioner.training.overfit import GOAL

    captions, loss, passed = summary["overfit"].values()
    outcome = f"loss {loss:.3g} per caption on {captions:,} captions after {summary['step']:,} steps"
    if passed:
        return f"PASS: {outcome} (below {GOAL})"
    return (
        f"FAIL: {outcome}, expected below {GOAL}; try another train.learning_rate, a larger model or train.max_steps, "
        "or fewer captions; captioner gradcheck checks the gradients"
    )
