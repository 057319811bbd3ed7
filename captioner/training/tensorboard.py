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
    """An event file for training from step `first` on; later steps in older files of the folder become invalid.

    The file is created by the first `add`.

    Raises: OSError, or any error of the library.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self.folder = folder
        self._first = first
        self._writer: Any = None

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write scalars by name, and flush the file."""
        from tensorboardX.proto.event_pb2 import Event as Record
        from tensorboardX.summary import scalar

        if self._writer is None:
            self._writer = self._open()
        for name, value in scalars.items():
            self._writer.write_event(Record(wall_time=time.time(), step=step, summary=scalar(name, value)))
        self._writer.flush()

    def _open(self) -> Any:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event as Record
        from tensorboardX.proto.event_pb2 import SessionLog

        self.folder.mkdir(exist_ok=True)
        # the name starts with the time in seconds: step and process distinguish files of the same second
        writer = EventsWriter(os.fspath(self.folder / "events"), f".{self._first:09}.{os.getpid()}")
        if self._first:
            start = SessionLog(status=SessionLog.START)  # discards the steps from `step` on that were written before
            writer.write_event(Record(wall_time=time.time(), step=self._first + 1, session_log=start))
        return writer

    def close(self) -> None:
        """Close the file, if it was created; a failed write is ignored."""
        if self._writer is not None:
            with contextlib.suppress(Exception):
                self._writer.close()


def with_event_file(events: Iterator[Event], folder: Path, log_every: int, first: int) -> Iterator[Event]:
    """Pass on the events of training from step `first` on, and write their scalars to an event file in `folder`.

    Every `log_every`th step and every validation is written. A failed write is a warning and ends the writing: it does
    not stop training.
    """
    file, failed = EventFile(folder, first), False
    speed = SpeedMeter()
    try:
        for event in events:
            yield event
            scalars: dict[str, float] = {}
            match event:
                case Step(step=step):
                    speed.add(event.words)
                    if step % log_every == 0:
                        scalars = {**_of_step(event), "train/words_per_second": speed.restart()}
                case Validated(step=step):
                    scalars = _of_validation(event)
                    speed.restart()
            if scalars and not failed:
                try:
                    file.add(step, scalars)
                except Exception as error:  # training is worth more than any error of the library
                    failed = True
                    reason = getattr(error, "strerror", None) or error
                    yield Warned(step, f"{folder}: cannot write event files: {reason}; training continues without them")
    finally:
        file.close()


def _of_step(step: Step) -> dict[str, float]:
    values = {"loss": step.loss, "grad_norm": step.grad_norm, "learning_rate": step.learning_rate, **step.metrics}
    return {f"train/{name}": value for name, value in values.items()}


def _of_validation(validated: Validated) -> dict[str, float]:
    values = {"loss": validated.loss, "perplexity": validated.perplexity, **validated.scores}
    return {f"validation/{name}": value for name, value in values.items()}
