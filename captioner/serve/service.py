"""Caption photographs of requests in a bounded number of threads."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from captioner.errors import ConfigError, DataError
from captioner.images.encoders import Encoded, Encoder
from captioner.images.photo import PixelLimitError, decoded, is_heic
from captioner.inference.caption import Caption
from captioner.inference.captioner import Captioner
from captioner.parallel.blas import limit_worker
from captioner.parallel.memory import Budget
from captioner.report.pictures import image_to_data_uri
from captioner.serve.decoding_options import Decoding, DecodingOptions, invalid
from captioner.serve.security import Limits, RequestError, busy, stopping
from captioner.serve.upload import Upload

T = TypeVar("T")
PREVIEW = 960
"""The longest side of the picture on the page, in pixels."""


class Workers:
    """`size` threads for the functions of coroutines, of which at most `queue` wait for a thread, in order.

    Native code, such as the decoder of an image format, cannot be interrupted: if a coroutine is cancelled, its
    function is *overdue*, and keeps its thread until it returns.
    """

    def __init__(self, size: int, queue: int) -> None:
        self.queue = queue
        self._executor = ThreadPoolExecutor(size, "captioner-serve", limit_worker)
        self._free = asyncio.Semaphore(size)
        self._waiting: set[asyncio.Task[Any]] = set()
        self._running: set[asyncio.Future[Any]] = set()
        self._overdue: set[asyncio.Future[Any]] = set()
        self._is_stopping = False

    def counts(self) -> dict[str, int]:
        """Return the number of functions that run, those that wait, and those of the running ones that are overdue."""
        return {"running": len(self._running), "waiting": len(self._waiting), "overdue": len(self._overdue)}

    def stop(self) -> None:
        """Refuse the functions that wait, and further ones that would have to wait."""
        self._is_stopping = True
        for task in self._waiting:
            task.cancel()

    async def run(self, function: Callable[[], T]) -> T:
        """Return the result of a function that runs in a thread. Call it in a task.

        Raises: RequestError if too many wait, or if the server stops before a thread is free; what the function raises.
        """
        await self._take_thread()
        thread = asyncio.get_running_loop().run_in_executor(self._executor, function)
        self._running.add(thread)
        thread.add_done_callback(self._release_thread)
        try:
            await asyncio.wait({thread})  # which does not cancel it
        finally:
            if not thread.done():
                self._overdue.add(thread)
        return thread.result()

    async def _take_thread(self) -> None:
        if self._free.locked():
            if self._is_stopping:
                raise stopping()
            if len(self._waiting) >= self.queue:
                raise busy(f"{self.queue} photographs are waiting already")
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            await self._free.acquire()
        except asyncio.CancelledError:
            if self._is_stopping:
                raise stopping() from None
            raise
        finally:
            self._waiting.remove(task)

    def _release_thread(self, thread: asyncio.Future[Any]) -> None:
        self._running.remove(thread)
        self._overdue.discard(thread)
        self._free.release()
        if not thread.cancelled():
            thread.exception()  # else asyncio logs the exception of an overdue function


class CaptionResult(NamedTuple):
    """The caption of a photograph, and for a page the photograph and its square centre."""

    caption: Caption
    preview: str
    square: str


class Service:
    """A captioner with its encoder, as requests use it. All methods are thread-safe."""

    def __init__(self, captioner: Captioner, encoder: Encoder, name: str, limits: Limits) -> None:
        self.captioner, self.encoder, self.name, self.limits = captioner, encoder, name, limits
        self.options = DecodingOptions(captioner)
        # Its own, and as large as all workers need: in the shared one, a photograph that takes long to decode would
        # block others that wait for its pixels.
        self._budget = Budget(limits.workers * limits.max_pixels)

    def caption(self, upload: Upload, with_pictures: bool) -> CaptionResult:
        """Caption a photograph, with pictures for a page.

        Raises: RequestError for a photograph that cannot be read, or for its options; CaptionerError for a failure of
        the model, whose message may contain paths.
        """
        decoding = self.options.decoding(upload.options, with_pictures)
        prepared, preview, square = self._decode(upload, with_pictures, decoding.options.attention)
        digest = hashlib.sha256(upload.content).digest()
        photo = Encoded(Path(), digest, *self.encoder.encode(prepared))
        return CaptionResult(self._search(photo, upload.name, decoding), preview, square)

    def _decode(self, upload: Upload, with_pictures: bool, attention: bool) -> tuple[Any, str, str]:
        """Decode a photograph; return the input of the encoder, and data URIs of the photograph and of its centre."""
        name, side, limit = upload.name, self.encoder.side, self.limits.max_pixels
        try:
            with decoded(upload.content, name, side, limit, self._budget) as photo:
                prepared = self.encoder.prepare(photo)
                preview = image_to_data_uri(photo, PREVIEW) if with_pictures else ""
                square = image_to_data_uri(photo, PREVIEW // 3, is_square=True) if with_pictures and attention else ""
                return prepared, preview, square
        except PixelLimitError as error:
            raise RequestError(413, str(error)) from None
        except DataError as error:
            if is_heic(upload.content):  # its message names the command that installs a library
                raise RequestError(422, f"{name}: cannot be read as HEIC; try JPEG") from None
            raise RequestError(422, str(error)) from None

    def _search(self, photo: Encoded, name: str, decoding: Decoding) -> Caption:
        captioner = self.captioner.with_decoding(decoding.decode)
        try:
            return next(captioner.decode_photos([photo], self.encoder.identity, decoding.options))._replace(image=name)
        except ConfigError as error:  # words that the vocabulary lacks
            raise invalid(error) from None
