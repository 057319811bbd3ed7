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


class EventFile:
    """An event file in a folder, for the steps after `first`; the first scalars create it.

    A failed write ends the writing; `problem` is then a warning: it does not stop training.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self._folder, self._first, self.problem = folder, first, ""
        self._writer: Any = None

    def write(self, part: str, step: int, scalars: Mapping[str, float]) -> None:
        """Write the scalars of a part of training by name."""
        if self.problem:
            return
        try:
            self._writer = self._writer or _open(self._folder, self._first)
            _write(self._writer, step, {f"{part}/{name}": value for name, value in scalars.items()})
        except Exception as error:  # training is worth more than any error of the library
            reason = getattr(error, "strerror", None) or error
            self.problem = f"{self._folder}: cannot write event files: {reason}; training continues without them"

    def write_validation(self, event: Validated) -> None:
        """Write a validation, before its checkpoint is saved: a run that is resumed from it does not validate again."""
        self.write("validation", event.step, {"loss": event.loss, "perplexity": event.perplexity, **event.scores})

    def close(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(Exception):
                self._writer.close()


def with_event_file(events: Iterator[Event], file: EventFile, log_every: int) -> Iterator[Event]:
    """Pass on the events of training, and write the scalars of every `log_every`th step; the validations are written.

    A failed write becomes a warning.
    """
    speed, has_warned = SpeedMeter(), False
    try:
        for event in events:
            yield event
            match event:
                case Step(step=step):
                    speed.add(event.words)
                    if step % log_every == 0:
                        scalars = {"loss": event.loss, "grad_norm": event.grad_norm}
                        scalars |= {"learning_rate": event.learning_rate, **event.metrics}
                        file.write("train", step, {**scalars, "words_per_second": speed.restart()})
                case Validated(step=step):
                    speed.restart()
                case _:
                    continue
            if file.problem and not has_warned:
                has_warned = True
                yield Warned(step, file.problem)
    finally:
        file.close()


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
