"""HTTP connections that end if their client is too slow, which uvicorn alone does not do."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from captioner.serve.http_headers import security_headers
from captioner.serve.limits import Limits

HEADERS_OF_REQUEST, READING = "send the headers of a request", "read the response"
STATUS = {400: "Bad Request", 503: "Service Unavailable"}


class Protocol(H11Protocol):
    """A connection with a time limit for the headers of a request, and for a client that does not read its response.

    The time of a body is limited by `upload.receive`.
    """

    limits: Limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        transport.set_write_buffer_limits(0)  # so that `pause_writing` is called whenever bytes wait for the client
        if len(self.connections) > self.limits.connections:
            self._refuse(503, f"{self.limits.connections} connections are open already; try again later")
            return
        self._start(HEADERS_OF_REQUEST)

    def data_received(self, data: bytes) -> None:
        if HEADERS_OF_REQUEST not in self._timers and not self._in_request():
            self._start(HEADERS_OF_REQUEST)
        super().data_received(data)
        if self._in_request():
            self._stop(HEADERS_OF_REQUEST)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start(READING)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop(READING)

    def connection_lost(self, exc: Exception | None) -> None:
        for what in tuple(self._timers):
            self._stop(what)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "invalid HTTP request")

    def _in_request(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _refuse(self, status: int, reason: str) -> None:
        """Return an error without the application, and close the connection."""
        body = f"{json.dumps({'error': reason})}\n".encode()
        size = {"Content-Type": "application/json", "Content-Length": len(body), "Connection": "close"}
        headers = {**size, **security_headers()}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(f"HTTP/1.1 {status} {STATUS[status]}\r\n{head}\r\n".encode() + body)
        self.transport.close()

    def _start(self, what: str) -> None:
        """End the connection unless the client does this in time."""
        self._timers[what] = self.loop.call_later(self.limits.idle_seconds, self.transport.abort)

    def _stop(self, what: str) -> None:
        if (timer := self._timers.pop(what, None)) is not None:
            timer.cancel()


def with_limits(limits: Limits) -> Any:
    """Return the class of connections with these limits."""
    return type("LimitedProtocol", (Protocol,), {"limits": limits})
