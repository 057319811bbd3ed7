"""Receive a photograph and its options: the whole body, in memory, with limits on bytes and time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

from starlette.requests import ClientDisconnect, Request

from captioner.printable import printable
from captioner.serve import multipart
from captioner.serve.limits import Limits, RequestError, busy, megabytes

PHOTO, NAME = "photo", "image"
"""The form field of the photograph, and the option that names a photograph that is the body itself."""
UNNAMED = "photograph"
TOO_SLOW = 408
MAX_NAME, MAX_TEXT = 255, 4096
DISCARDED, DISCARD_SECONDS = 100_000_000, 10.0
"""Bytes and seconds of a refused body that are still read: most clients read a response only after they sent it all."""


class Upload(NamedTuple):
    """A photograph with the name of its file, and the options that were given."""

    content: bytes
    name: str
    options: Mapping[str, str]


class Memory:
    """The bytes of all photographs in memory: a few large ones or many small ones, within one limit."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    @contextmanager
    def body(self) -> Iterator[Body]:
        """Count the bytes of one body until the end of a `with` block."""
        body = Body(self)
        try:
            yield body
        finally:
            self.used -= body.size


class Body:
    """The part of a body that has arrived."""

    def __init__(self, memory: Memory) -> None:
        self.size, self.is_complete = 0, False
        self._memory, self._content = memory, bytearray()

    def add(self, chunk: bytes) -> None:
        """Add what follows. Raises: RequestError if all bodies together are too large."""
        if self._memory.used + len(chunk) > self._memory.limit:
            raise busy("the photographs of other requests use all memory")
        self._memory.used += len(chunk)
        self.size += len(chunk)
        self._content += chunk

    def take(self) -> bytes:
        """Return the bytes, and keep no copy of them; they count until the end of the `with` block."""
        content, self._content = bytes(self._content), bytearray()
        return content


async def receive(request: Request, body: Body, limits: Limits) -> Upload:
    """Receive a photograph as the file of a form, or as the body itself, with options in the form and in the query.

    Raises: RequestError; ClientDisconnect.
    """
    try:
        await _read(request, body, limits)
    except RequestError as error:
        # a slow client had its time, and one that sent `Expect` waits for permission to send
        if not body.is_complete and error.status != TOO_SLOW and not request.headers.get("expect"):
            with suppress(TimeoutError):
                await asyncio.wait_for(_discard(request), DISCARD_SECONDS)
        raise
    return _parse(request, body.take(), limits)


async def _read(request: Request, body: Body, limits: Limits) -> None:
    length = request.headers.get("content-length", "0")
    if len(length) > 15 or int(length) > limits.max_request:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.receive_seconds):
            while not body.is_complete:
                chunk, body.is_complete = await _next(request)
                if body.size + len(chunk) > limits.max_request:
                    raise _too_large(limits)
                body.add(chunk)
    except TimeoutError:
        seconds = f"{limits.receive_seconds:g} s"
        raise RequestError(TOO_SLOW, f"the photograph did not arrive within {seconds}; try a smaller one") from None


async def _discard(request: Request) -> None:
    left, is_last = DISCARDED, False
    while left > 0 and not is_last:
        chunk, is_last = await _next(request)
        left -= len(chunk)


async def _next(request: Request) -> tuple[bytes, bool]:
    """Return the next bytes of a body, and whether they are the last."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), not message.get("more_body", False)


def _parse(request: Request, body: bytes, limits: Limits) -> Upload:
    given = request.query_params.multi_items()
    boundary = multipart.boundary_of(request.headers.get("content-type", ""))
    if boundary is None:
        options = _unique(given)
        name, content = options.pop(NAME, ""), body
    else:
        photo, texts = _split(body, boundary)
        options = _unique([*given, *texts])
        name, content = photo.file or "", photo.content
    if len(content) > limits.max_bytes:
        raise _too_large(limits)
    if not content:
        raise RequestError(422, "expected a photograph, got nothing; choose a photograph")
    return Upload(content, printable(re.split(r"[\\/]", name)[-1], MAX_NAME) or UNNAMED, options)


def _split(body: bytes, boundary: bytes) -> tuple[multipart.Part, list[tuple[str, str]]]:
    """Return the photograph of a form, and its other fields."""
    try:
        parts = list(multipart.parse(body, boundary))
    except ValueError as error:
        raise RequestError(422, f"expected a form (multipart/form-data), got a damaged one: {error}") from None
    photos, texts = [part for part in parts if part.name == PHOTO], [part for part in parts if part.name != PHOTO]
    if len(photos) != 1:
        raise RequestError(422, f"expected one photograph in the field {PHOTO}, got {len(photos) or 'none'}")
    if any(len(part.content) > MAX_TEXT for part in texts):
        raise RequestError(422, f"expected at most {MAX_TEXT:,} bytes in an option, got more")
    return photos[0], [(part.name, part.content.decode("utf-8", "replace")) for part in texts]


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return options by name. Raises: RequestError for one that is given twice."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise RequestError(422, f"{printable(name, 60)}: given twice; keep one")
        found[name] = value
    return found


def _too_large(limits: Limits) -> RequestError:
    return RequestError(
        413, f"expected a photograph of at most {megabytes(limits.max_bytes)}, got more; make it smaller"
    )
