"""TensorBoard event files with the scalars of a run. Needs the extra `tensorboard`.

tensorboardX's SummaryWriter writes in a separate thread: after a failed write it would block training. So this module
uses the EventsWriter below it, which raises the error in the calling thread.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from captioner.errors import MissingLibraryError, library_of
from captioner.training.events import Event, SpeedMeter, Validated, Warned
from captioner.training.solver import Step


def check_installed() -> None:
    """Raises: MissingLibraryError when tensorboardX cannot be imported."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        if library_of(error) is None:
            raise
        raise MissingLibraryError(error, "train.tensorboard: ") from error


def with_event_file(events: Iterator[Event], folder: Path, log_every: int, first: int) -> Iterator[Event]:
    """Pass on the events of training from step `first` on, and write their scalars to an event file in `folder`.

    Every `log_every`th step and every validation is written; the first creates the file. A failed write is a warning
    and ends the writing: it does not stop training.
    """
    speed, writer, failed = SpeedMeter(), None, False
    try:
        for event in events:
            yield event
            values: dict[str, float] = {}
            match event:
                case Step(step=step):
                    speed.add(event.words)
                    if step % log_every == 0:
                        part, rate = "train", event.learning_rate
                        values = {"loss": event.loss, "grad_norm": event.grad_norm, "learning_rate": rate}
                        values |= {**event.metrics, "words_per_second": speed.restart()}
                case Validated(step=step):
                    part, values = "validation", {"loss": event.loss, "perplexity": event.perplexity, **event.scores}
                    speed.restart()
            if values and not failed:
                try:
                    writer = writer or _open(folder, first)
                    _write(writer, step, {f"{part}/{name}": value for name, value in values.items()})
                except Exception as error:  # training is worth more than any error of the library
                    failed = True
                    reason = getattr(error, "strerror", None) or error
                    yield Warned(step, f"{folder}: cannot write event files: {reason}; training continues without them")
    finally:
        if writer is not None:
            with contextlib.suppress(Exception):
                writer.close()


def _open(folder: Path, first: int) -> Any:
    """Create an event file; steps after `first` in older files of the folder become invalid."""
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event as Record
    from tensorboardX.proto.event_pb2 import SessionLog

    folder.mkdir(exist_ok=True)
    # the name starts with the time in seconds: step and process distinguish files of the same second
    writer = EventsWriter(os.fspath(folder / "events"), f".{first:09}.{os.getpid()}")
    if first:
        start = SessionLog(status=SessionLog.START)  # discards the steps from `step` on that were written before
        writer.write_event(Record(wall_time=time.time(), step=first + 1, session_log=start))
    return writer


def _write(writer: Any, step: int, scalars: Mapping[str, float]) -> None:
    """Write scalars by name, and flush the file."""
    from tensorboardX.proto.event_pb2 import Event as Record
    from tensorboardX.summary import scalar

    for name, value in scalars.items():
        writer.write_event(Record(wall_time=time.time(), step=step, summary=scalar(name, value)))
    writer.flush()
