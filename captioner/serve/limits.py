"""The limits of the server, and the error with which a request beyond them is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MAX_PIXELS = 89_478_485
"""The most pixels that can be accepted: those of `images.photo`, which needs Pillow."""
FORM = 100_000
"""Bytes of a form besides the photograph."""


@dataclass(frozen=True)
class Limits:
    """What one request, and all requests together, may use."""

    max_bytes: int = 20_000_000
    """Bytes of a photograph."""
    max_pixels: int = 50_000_000
    """Pixels of a photograph: width times height in its header."""
    workers: int = 2
    """Photographs that are captioned at the same time."""
    queue: int = 64
    """Photographs that wait for a worker."""
    seconds: float = 30.0
    """Seconds from the last byte of a photograph to its caption."""
    receive_seconds: float = 60.0
    """Seconds from the first byte of a request to the last one."""
    held_bytes: int = 400_000_000
    """Bytes of all photographs in memory, from their first byte to their captions."""
    connections: int = 256
    """Open connections."""
    idle_seconds: float = 10.0
    """Seconds to wait for the headers of a request, and for a client that does not read its response."""

    @property
    def max_request(self) -> int:
        """Bytes of the body of a request."""
        return self.max_bytes + FORM


class RequestError(Exception):
    """A request that is refused: the HTTP status, and the reason for its sender, which contains no paths."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, dict(headers or {})


class OptionError(RequestError):
    """A request that is refused for its options, whatever its photograph is."""

    def __init__(self, reason: str) -> None:
        super().__init__(422, reason)


def busy(reason: str) -> RequestError:
    """Return the refusal of a server without capacity for now, which closes the connection and parses no more of it."""
    return RequestError(503, f"{reason}; try again later", {"Retry-After": "5", "Connection": "close"})


def stopping() -> RequestError:
    """Return the refusal of a server that was stopped."""
    return busy("the server is stopping")
