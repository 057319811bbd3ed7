"""Receive a photograph and its options: the whole body, in memory, with limits on bytes and time.

Forms are parsed here, because Starlette's parser writes files over 1 MB to temporary files, and photographs must not
reach the disk.

Source: RFC 7578; RFC 2046, section 5.1.1; for the escapes in names, the HTML standard, "Multipart form data".
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from starlette.requests import Request

from captioner.errors import printable
from captioner.serve.security import Limits, RequestError, busy

PHOTO, NAME = "photo", "image"
"""The form field of the photograph, and the option that names a photograph that is the body itself."""
UNNAMED = "photograph"
MAX_NAME, MAX_TEXT = 255, 4096
MAX_PARTS, MAX_PART_HEADERS = 40, 4096
"""Maximum number of fields of a form, and bytes of the headers of one."""
RESERVED_SECONDS, PROGRESS = 3.0, 0.1
"""A body reserves its Content-Length as long as 10 % of it arrives every 3 s. Otherwise it reserves only the bytes
received."""
POLL = 0.02
_BOUNDARY = re.compile(
    r"""multipart/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))\s*(?:;|$)""", re.IGNORECASE
)
_PARAMETER = re.compile(r';\s*(name|filename)="([^"\r\n]*)"', re.IGNORECASE)
_ESCAPE = re.compile("%22|%0D|%0A")


class Upload(NamedTuple):
    """A photograph with the name of its file, and the options of its request."""

    content: bytes
    name: str
    options: Mapping[str, str]


class Part(NamedTuple):
    """A field of a form; `file` is the name of a file, or None for a text."""

    name: str
    file: str | None
    content: bytes


class Memory:
    """The bytes of all photographs in memory: a few large ones or many small ones, within one limit."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used, self.turn = limit, 0, asyncio.Lock()


class Body:
    """The part of a body that has arrived; it counts in the memory until `release`, or the end of a `with` block."""

    def __init__(self, memory: Memory) -> None:
        self.content, self.size, self._memory, self._counted = bytearray(), 0, memory, 0

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    async def reserve(self, size: int, seconds: float) -> None:
        """Wait for memory for this size, in the order of the calls. Raises: RequestError after this time."""
        memory = self._memory
        try:
            async with asyncio.timeout(seconds), memory.turn:
                while memory.used + size > memory.limit:
                    await asyncio.sleep(POLL)
        except TimeoutError:
            raise _no_memory() from None
        self._count(size)
        self._check_later()

    def add(self, chunk: bytes) -> None:
        """Add what follows. Raises: RequestError if all bodies together are too large."""
        size = self.size + len(chunk)
        if self._memory.used + size - self._counted > self._memory.limit:
            raise _no_memory()
        self._count(max(size, self._counted))
        self.size = size
        self.content += chunk

    def release(self) -> None:
        """Drop the content."""
        self.content, self.size = bytearray(), 0
        self._count(0)

    def _check_later(self) -> None:
        def check(before: int = self.size) -> None:
            if self._counted > self.size >= before + PROGRESS * self._counted:
                self._check_later()
            else:
                self._count(self.size)

        asyncio.get_running_loop().call_later(RESERVED_SECONDS, check)

    def _count(self, size: int) -> None:
        self._memory.used += size - self._counted
        self._counted = size


async def receive(request: Request, body: Body, limits: Limits) -> Upload:
    """Receive a photograph as the file of a form, or as the body itself, with options in the form and in the query.

    Raises: RequestError; ClientDisconnect.
    """
    length = request.headers.get("content-length", "0")
    if len(length) > 15 or int(length) > limits.max_request:
        raise _too_large(limits)
    await body.reserve(int(length), limits.seconds)  # until then, the client waits, because nothing is read
    try:
        async with asyncio.timeout(limits.receive_seconds):
            async for chunk in request.stream():
                if body.size + len(chunk) > limits.max_request:
                    raise _too_large(limits)
                body.add(chunk)
    except TimeoutError:
        seconds = f"{limits.receive_seconds:g} s"
        raise RequestError(408, f"the photograph did not arrive within {seconds}; try a smaller one") from None
    content, body.content = bytes(body.content), bytearray()  # one copy, which counts until the release
    return _parse(request, content, limits)


def _parse(request: Request, body: bytes, limits: Limits) -> Upload:
    query = request.query_params.multi_items()
    boundary = boundary_of(request.headers.get("content-type", ""))
    if boundary is None:
        options = _unique(query)
        name, content = options.pop(NAME, ""), body
    else:
        photo, texts = _split(body, boundary)
        options = _unique([*query, *texts])
        name, content = photo.file or "", photo.content
    if len(content) > limits.max_bytes:
        raise _too_large(limits)
    if not content:
        raise RequestError(422, "expected a photograph, got nothing; choose a photograph")
    return Upload(content, printable(re.split(r"[\\/]", name)[-1], MAX_NAME) or UNNAMED, options)


def _split(body: bytes, boundary: bytes) -> tuple[Part, list[tuple[str, str]]]:
    """Return the photograph of a form, and its other fields."""
    try:
        parts = list(parse_form(body, boundary))
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
    options: dict[str, str] = {}
    for name, value in pairs:
        if name in options:
            raise RequestError(422, f"{printable(name, 60)}: given twice; keep one")
        options[name] = value
    return options


def _no_memory() -> RequestError:
    return busy("the photographs of other requests use all memory")


def _too_large(limits: Limits) -> RequestError:
    most = f"{limits.max_bytes / 1e6:.3g} MB"
    return RequestError(413, f"expected a photograph of at most {most}, got more; make it smaller")


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary of a multipart form, or None for another type of body."""
    match = _BOUNDARY.match(content_type)
    return None if match is None else (match[1] or match[2]).encode("latin-1")


def parse_form(body: bytes, boundary: bytes) -> Iterator[Part]:
    """Yield the parts of a form.

    Raises: ValueError for a body that is incomplete or not a form, or has too many parts.
    """
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary, MAX_PARTS + 1)
    if not parts:
        raise ValueError("the boundary is missing")
    for number, part in enumerate(parts):
        if part.startswith(b"--"):
            return
        headers, blank_line, content = part.partition(b"\r\n\r\n")
        if not blank_line or len(headers) > MAX_PART_HEADERS:
            raise ValueError("a part is incomplete")
        if number == MAX_PARTS:
            raise ValueError(f"it has more than {MAX_PARTS} parts")
        yield Part(*_disposition(headers), content)
    raise ValueError("a part is incomplete")


def _disposition(headers: bytes) -> tuple[str, str | None]:
    """Return the name of a part, and of its file."""
    for line in headers.decode("utf-8", "replace").split("\r\n"):
        header, _, value = line.partition(":")
        if header.strip().lower() == "content-disposition" and value.strip().lower().startswith("form-data"):
            parameters = {
                name.lower(): _ESCAPE.sub(lambda escape: unquote(escape[0]), text)
                for name, text in _PARAMETER.findall(value)
            }
            if "name" in parameters:
                return parameters["name"], parameters.get("filename")
    raise ValueError("a part has no name")
