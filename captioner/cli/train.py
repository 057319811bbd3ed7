"""captioner train"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from captioner.cli.options import config_options
from captioner.errors import UsageError

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command(
    epilog="""\b
Examples:
  captioner train                       # the generated pictures, into runs/scenes
  captioner train -c configs/scenes-rnn.yaml -o train.epochs=3
  captioner train -c configs/photos.yaml --data birds.h5
  captioner train --resume runs/scenes -o train.epochs=20
"""
)
@config_options
@click.option(
    "--data", type=click.Path(path_type=Path), metavar="FILE",
    help="The file that `captioner prepare` wrote: short for -o data.source=prepared -o data.root=FILE.",
)  # fmt: skip
@click.option(
    "--run", type=click.Path(path_type=Path), metavar="FOLDER",
    help="The run folder to make.  [default: runs/ and the name of --data, the config or the source]",
)  # fmt: skip
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="FOLDER", help="Go on with a run, exactly where it was saved."
)
@click.option("--overwrite", is_flag=True, help="Replace a run that is in the folder already.")
@click.option(
    "--profile", is_flag=True,
    help="Tell at the end how long reading, forward, backward, update, validation and saving took.",
)  # fmt: skip
def train(
    config_file: Path | None,
    overrides: tuple[str, ...],
    data: Path | None,
    run: Path | None,
    resume: Path | None,
    overwrite: bool,
    profile: bool,
) -> int:
    """Train a captioner.

    The run folder then holds config.yaml as it took effect, history.jsonl, last.h5, best.h5, summary.json and, if
    decode.consensus is set, reranker.h5.
    Ctrl-C finishes the step and saves before it stops.
    """
    if data is not None:
        overrides = ("data.source=prepared", f"data.root={data}", *overrides)
    if resume is not None and (config_file or data or run or overwrite):
        moved = f"; for data that has moved: -o data.root={shlex.quote(str(data))}" if data else ""
        raise UsageError(f"--resume takes its config and folder from the run; give it alone, or with -o{moved}")
    from captioner.cli.progress import show
    from captioner.config import yaml_io as configio
    from captioner.training import train as use_case

    with stop_signals() as caught:

        def stop() -> bool:
            return bool(caught)

        if resume is not None:
            events = use_case.resume(resume, overrides, stop)
        else:
            config = configio.load(config_file, overrides)
            name = data.stem if data else config_file.stem if config_file else config.data.source
            folder = run or Path("runs") / name
            events = use_case.train(config, folder, overwrite, stop)
        show(events, profile)
    return 128 + caught[0] if caught else 0


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that fills with the signal that asks to stop; a second one, of whatever kind, stops at once."""
    caught: list[int] = []

    def catch(number: int, frame: FrameType | None) -> None:
        if caught:  # not SIG_DFL before: Python loses a second signal that comes before it has handled the first
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        caught.append(number)

    before = {number: signal.signal(number, catch) for number in STOPPING}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
