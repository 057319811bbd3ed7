"""Run trainings in subprocesses: wait for progress and get the exit code."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from captioner.captioning.find_checkpoint import LAST
from captioner.files import checkpoint
from captioner.files.checkpoint import Checkpoint
from faults.session import TINY, captioner, settings

OPTIONS = (
    *TINY,
    "train.epochs=1000",
    "train.save_every=1",
    "train.log_every=1",
    "model.dropout_embedding=0.3",
    "train.learning_rate=0.01",
    "threads=2",
)
"""Options of a run that saves after every step, and whose result depends on data order and dropout."""
MOST_SECONDS = 120.0


class Training:
    """A `captioner train` subprocess. Resumes if the folder has a checkpoint; `stderr` collects its output."""

    def __init__(
        self,
        folder: Path,
        steps: int,
        options: Iterable[str] = OPTIONS,
        more: Iterable[object] = (),
        code: str = "",
        **popen_options: Any,
    ) -> None:
        self.folder = folder
        if (folder / LAST).exists():
            words: list[object] = ["train", "--resume", folder, *more]
        else:
            words = ["train", "--run", folder, "--overwrite", *settings([*options, f"train.max_steps={steps}"])]
        # a pipe, so that a file size limit does not truncate the output
        self._lines: list[str] = []
        self.process = captioner(*words, code=code, **popen_options)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._started = time.monotonic()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self._lines.append(line)

    @property
    def stderr(self) -> str:
        return "".join(self._lines)

    def until_it_trains(self) -> bool:
        """Wait until training starts; return False if the process ends first."""
        return self._wait_until(lambda: self.stderr.count("\n") >= 2)

    def until_it_saves(self) -> bool:
        """Wait until this process writes a checkpoint; return False if it ends first."""
        before = self._checkpoint()
        return self._wait_until(lambda: self._checkpoint() != before)

    def _checkpoint(self) -> tuple[int, int] | None:
        """Return the inode and the time of the checkpoint, which each save replaces; None before the first."""
        try:
            status = (self.folder / LAST).stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def end(self, seconds: float = MOST_SECONDS) -> int | None:
        """Wait for the exit code; after a timeout, kill the process and return None."""
        try:
            code: int | None = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = None
        self._listener.join()
        return code

    def _wait_until(self, is_correct: Callable[[], bool]) -> bool:
        while self.process.poll() is None and not is_correct():
            if time.monotonic() > self._started + MOST_SECONDS:
                self.process.kill()
            time.sleep(0.002)
        return self.process.poll() is None


def difference(checkpoint: Checkpoint, other: Checkpoint) -> str:
    """Compare two checkpoints bit by bit; return the first difference or ""."""
    if checkpoint.meta.step != other.meta.step:
        return f"step {checkpoint.meta.step}, not {other.meta.step}"
    bits, other_bits = (
        {
            f"{group}/{name}": array.tobytes()
            for group, arrays in saved.groups().items()
            for name, array in arrays.items()
        }
        for saved in (checkpoint, other)
    )
    different = [name for name in sorted(bits.keys() | other_bits.keys()) if bits.get(name) != other_bits.get(name)]
    return f"{different[0]} differs" if different else ""


def uninterrupted(folder: Path, steps: int, options: Iterable[str] = OPTIONS) -> Checkpoint:
    """Train without interruption and return the last checkpoint, as a reference."""
    training = Training(folder, steps, options)
    if training.end() != 0:
        raise RuntimeError(training.stderr)
    return checkpoint.load(folder / LAST)
