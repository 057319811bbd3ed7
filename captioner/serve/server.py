"""Run the server on a socket until it is stopped, with time limits for HTTP connections."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from captioner.errors import CaptionerError, UsageError
from captioner.serve.app import Site, answer_error
from captioner.serve.limits import Limits
from captioner.serve.security import LOOPBACK, MAX_HEADERS, Guard, host_name, is_loopback, security_headers

GRACE = 5
"""Seconds for the requests that run when the server is stopped."""
LAST = 2
"""Seconds for the responses to requests that did not end in time."""
POLL = 0.05
BACKLOG = 128
REASONS = {
    errno.EADDRINUSE: "port in use by another program; choose another with --port, or any free one with --port 0",
    errno.EACCES: "port needs the rights of an administrator; choose one above 1023 with --port",
    errno.EADDRNOTAVAIL: "not an address of this machine; try --host 127.0.0.1",
}
HEADERS_OF_REQUEST, READING = "send the headers of a request", "read the response"


class Protocol(H11Protocol):
    """A connection with a time limit for the headers of a request, and for a client that does not read its response.

    uvicorn limits only the time between requests, and refuses connections beyond a limit only when their headers have
    arrived. The time of a body is limited by `upload.receive`.
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
        about = {"Content-Type": "application/json", "Content-Length": len(body), "Connection": "close"}
        lines = [f"{name}: {value}" for name, value in {**about, **security_headers()}.items()]
        head = "\r\n".join((f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *lines, "", ""))
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _start(self, what: str) -> None:
        """End the connection unless the client does this in time."""
        self._timers[what] = self.loop.call_later(self.limits.idle_seconds, self.transport.abort)

    def _stop(self, what: str) -> None:
        if (timer := self._timers.pop(what, None)) is not None:
            timer.cancel()


class _Server(uvicorn.Server):
    """A server that leaves signals to its caller."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """Open the socket of the server; port 0 is any free one.

    Raises: CaptionerError if the port is taken, UsageError for an unknown host.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host}: {getattr(error, 'strerror', None) or error}; try --host 127.0.0.1") from error
    try:
        if os.name == "posix":  # on Windows, this would take the port away from another server
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)  # now, so that a second server on the same port is an error here
    except OSError as error:
        sock.close()
        reason = REASONS.get(error.errno or 0, f"cannot be opened: {error.strerror}")
        raise CaptionerError(f"{page_url(host, port)}: {reason}") from error
    return sock


def page_url(host: str, port: int) -> str:
    """Return the address of a page."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def check_names(names: Iterable[str]) -> None:
    """Raises: UsageError for a further name of the server that no header `Host` can have."""
    for name in names:
        if not host_name(name):
            raise UsageError(f"--allow-host {name}: expected the name of a host, such as captions.example")


def run(site: Site, sock: socket.socket, host: str, names: tuple[str, ...], stop: Callable[[], bool]) -> None:
    """Serve a site on a socket that is bound to `host`, and has further `names`, until `stop` returns true.

    Then, photographs that wait for a thread are refused, and so are requests that do not end in `GRACE` seconds.
    """
    hosts = frozenset((*LOOPBACK, host.lower(), *map(host_name, names)))
    config = uvicorn.Config(
        Guard(site.app(), hosts, not is_loopback(host), answer_error),
        http=type("LimitedProtocol", (Protocol,), {"limits": site.limits}),
        h11_max_incomplete_event_size=MAX_HEADERS,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="critical",  # what a client does wrong is no message for the operator
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE,
    )
    server = _Server(config)

    async def serve() -> None:
        serving = asyncio.ensure_future(server.serve([sock]))
        while not serving.done() and not stop():
            await asyncio.wait({serving}, timeout=POLL)
        server.should_exit = True
        site.workers.stop()
        await serving
        if server.server_state.tasks:  # which uvicorn has cancelled
            await asyncio.wait(server.server_state.tasks, timeout=LAST)

    asyncio.run(serve())
