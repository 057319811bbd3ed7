"""Captions of the fixed images from the newest checkpoint of a run, in one thread."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from captioner.errors import CaptionerError
from captioner.inference.restore import restore
from captioner.monitor.fixed_images import FixedImages, open_fixed_images
from captioner.monitor.follow import pause
from captioner.optim.schedules import Span
from captioner.parallel.blas import set_threads
from captioner.printable import printable
from captioner.report.fixed_images import caption_fixed_images
from captioner.report.gallery import Gallery
from captioner.storage.files import FileVersion, file_version, read_text
from captioner.training.run_folder import RunFolder

LIGHT = ("threads=1", "decode.consensus=0")
"""Overrides of the captioning: training needs the cores, and the re-ranking index is written at its end."""
INTERVAL = 1.0
"""Seconds between looks at the run folder."""
MAX_PROBLEM = 500


class Current(NamedTuple):
    """The captions at a step; `problem` says why there are none, or none of a newer checkpoint.

    `span` is the length of the training, None until the data set is loaded. With `is_loading`, the first attempt to
    load it has not ended.
    """

    span: Span | None = None
    step: int | None = None
    gallery: Gallery | None = None
    problem: str = ""
    is_loading: bool = False


class CurrentCaptions:
    """Keeps the captions of a run up to date: `update` looks for a new checkpoint, `follow` does so in a thread."""

    def __init__(self, folder: Path, images: Path | None = None) -> None:
        self.current = Current(is_loading=True)
        self._run, self._images = RunFolder(folder), images
        self._seen: tuple[FileVersion | None, ...] = ()
        self._config = ""
        self._fixed: FixedImages | None = None
        self._loading = 0.0

    def follow(self) -> None:
        """Update the captions in a daemon thread."""
        threading.Thread(target=self._follow, name="captions", daemon=True).start()

    def _follow(self) -> None:
        set_threads(1)
        while True:
            start = time.perf_counter()
            self.update()
            # the data set is loaded once: a pause for it would delay the captions of many checkpoints
            time.sleep(max(INTERVAL, pause(time.perf_counter() - start - self._loading)))

    def update(self) -> None:
        """Caption the images if the config or the checkpoint was replaced since the last call.

        A CaptionerError is a problem of these files, which are not read again; after another error, they are.
        """
        self._loading = 0.0
        checkpoint = self._run.last if file_version(self._run.last) else self._run.best
        seen = file_version(self._run.config), file_version(checkpoint)
        if seen == self._seen:
            return
        if seen[0] is None:
            problem = f"{self._run.config}: not found; it was moved or deleted" if seen[1] else ""
            self.current = self.current._replace(problem=problem, is_loading=False)
            return
        try:
            fixed = self._open()
            if seen[1] is None:
                self.current = Current(fixed.span)
            else:
                self.current = self.current._replace(span=fixed.span)
                self.current = _caption(checkpoint, fixed)
        except CaptionerError as error:
            self.current = self.current._replace(problem=str(error), is_loading=False)
        except Exception as error:  # the thread must not end: the page would show old captions without a reason
            reason = printable(f"{type(error).__name__}: {error}", MAX_PROBLEM)
            self.current = self.current._replace(problem=f"{reason}; the monitor tries again", is_loading=False)
            return
        self._seen = seen

    def _open(self) -> FixedImages:
        """Return the images, which are loaded again only if the config has another text: `resume` writes it again."""
        start = time.perf_counter()
        text = read_text(self._run.config)
        if self._fixed is None or text != self._config:
            self.current = self.current._replace(is_loading=True)
            self._fixed, self._config = open_fixed_images(self._run, text, self._images), text
            self._loading = time.perf_counter() - start
        return self._fixed


def _caption(checkpoint: Path, fixed: FixedImages) -> Current:
    restored = restore(checkpoint, LIGHT, for_training=False)
    rows = range(len(fixed.pictures))
    gallery = caption_fixed_images(restored, fixed.corpus, fixed.name, rows, fixed.pictures.__getitem__)
    return Current(fixed.span, restored.meta.step, replace(gallery, total=fixed.total))
