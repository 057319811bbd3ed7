"""Run the server on a socket until it is stopped, with time limits for HTTP connections."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from captioner.errors import CaptionerError, UsageError
from captioner.serve.app import Site, answer_error
from captioner.serve.security import (
    LOOPBACK,
    MAX_HEADERS,
    App,
    Guard,
    Limits,
    busy,
    host_name,
    is_loopback,
    security_headers,
)

GRACE = 5
"""Seconds for the requests that run when the server is stopped."""
LAST = 2
"""Seconds for the responses to requests that did not end in time."""
LAST_CALL = 0.5
"""Seconds in which a connection without a request can still send one when the server is stopped."""
POLL = 0.05
PROBE = 1.0
BACKLOG = 1024
SURPLUS = 3
"""Connections, as a multiple of their limit, of which those beyond the limit get a response; further ones are reset."""
SMALL_CHUNK, MAX_SMALL = 1024, 1000
"""Chunks with fewer bytes are small; a body may have this many of them."""
REASONS = {
    errno.EADDRINUSE: "port in use by another program; choose another with --port, or any free one with --port 0",
    errno.EACCES: "port needs the rights of an administrator; choose one above 1023 with --port",
    errno.EADDRNOTAVAIL: "not an address of this machine; try --host 127.0.0.1",
}
Deadline = Enum("Deadline", "SEND_HEADERS READ CLOSE")
"""What a client must do in time, or its connection is ended."""


class _Parser(h11.Connection):
    """An HTTP parser that refuses many small chunks: each takes as much time as a large one, and delays all clients."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEADERS)
        self.problem = "invalid HTTP request"

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._small = self._size = 0
        elif isinstance(event, h11.Data):
            self._size = len(event.data) + (0 if event.chunk_start else self._size)  # of the chunk
            self._small += event.chunk_end and self._size < SMALL_CHUNK
            if self._small > MAX_SMALL:
                self.problem = f"expected chunks of at least {SMALL_CHUNK:,} bytes, got smaller; set Content-Length"
                raise h11.RemoteProtocolError(self.problem)
        return event


class _Transport:
    """The transport of a connection, as uvicorn sees it: `close` is `Protocol.close`."""

    def __init__(self, protocol: Protocol, transport: asyncio.Transport) -> None:
        self.close, self._protocol, self._transport = protocol.close, protocol, transport

    def is_closing(self) -> bool:
        return Deadline.CLOSE in self._protocol.timers or self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Protocol(H11Protocol):
    """A connection with a time limit for the headers of a request, and for a client that does not read its response.

    uvicorn limits only the time between requests. The time of a body is limited by `upload.receive`. A client that
    still sends reads its response later, and a connection that is closed with unread bytes is reset, which discards
    the response: such a connection is closed for writing, and what arrives is discarded.
    """

    limits: Limits
    full: App
    """Responds to the requests of connections beyond the limit."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.timers: dict[Deadline, asyncio.TimerHandle] = {}
        self.conn = self._parser = _Parser()
        self._raw, self._has_ended = transport, False
        self.transport = cast(asyncio.Transport, _Transport(self, transport))
        transport.set_write_buffer_limits(0)  # so that `pause_writing` is called whenever bytes wait for the client
        if len(self.connections) > SURPLUS * self.limits.connections:
            transport.abort()
        elif len(self.connections) > self.limits.connections:
            self.app = self.full
        self._start(Deadline.SEND_HEADERS)

    def data_received(self, data: bytes) -> None:
        if Deadline.CLOSE in self.timers:
            return
        if Deadline.SEND_HEADERS not in self.timers and not self._in_request():
            self._start(Deadline.SEND_HEADERS)
        super().data_received(data)
        if self._in_request():
            self._stop(Deadline.SEND_HEADERS)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep a connection open that the client has closed for writing, until it has the response.

        A client that closed the connection looks the same until something is sent to it.
        """
        if self._in_request() and not self.cycle.more_body:
            self._has_ended = True
            self.loop.call_later(PROBE, self._probe)
        else:
            self._refuse_part()
        return self._has_ended

    def on_response_complete(self) -> None:
        super().on_response_complete()  # which begins the next request that has arrived
        if self._has_ended and (not self._in_request() or self.cycle.more_body):
            self._refuse_part()
            self._raw.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start(Deadline.READ)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop(Deadline.READ)

    def connection_lost(self, exc: Exception | None) -> None:
        for what in tuple(self.timers):
            self._stop(what)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._parser.problem)

    def shutdown(self) -> None:
        if self._in_request():
            super().shutdown()
        else:
            self.loop.call_later(LAST_CALL, lambda: None if self._in_request() else self._raw.close())

    def close(self) -> None:
        """Close the connection, for writing only if the client still sends."""
        cycle: Any = self.cycle
        if cycle is None or not cycle.more_body:
            self._raw.close()
        else:
            self._close_for_writing()

    def _close_for_writing(self) -> None:
        if Deadline.CLOSE not in self.timers and not self._raw.is_closing():
            self._start(Deadline.CLOSE)
            self._raw.write_eof()
            self.flow.resume_reading()

    def _in_request(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _refuse_part(self) -> None:
        if Deadline.CLOSE not in self.timers and (self._in_request() or self.conn.trailing_data[0]):
            self._refuse("expected a complete request, got a part")

    def _refuse(self, reason: str) -> None:
        """Return status 400 without the application, unless it has responded, and close the connection."""
        cycle: Any = self.cycle
        if cycle is None or not (cycle.response_started and cycle.more_body):
            body = f"{json.dumps({'error': reason})}\n".encode()
            about = {"Content-Type": "application/json", "Content-Length": len(body), "Connection": "close"}
            lines = [f"{name}: {value}" for name, value in {**about, **security_headers()}.items()]
            head = "\r\n".join(("HTTP/1.1 400 Bad Request", *lines, "", ""))
            self._raw.write(head.encode() + body)
        if cycle is not None:
            cycle.disconnected = True  # so that the application stops
            cycle.message_event.set()
        self._close_for_writing()

    def _probe(self) -> None:
        """Send an interim response, which fails if the client is gone."""
        is_waiting = self._in_request() and not self.cycle.response_started and not self._raw.is_closing()
        if is_waiting and self.scope["http_version"] == "1.1":
            self._raw.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.loop.call_later(PROBE, self._probe)

    def _start(self, what: Deadline) -> None:
        self._stop(what)
        self.timers[what] = self.loop.call_later(self.limits.idle_seconds, self._raw.abort)

    def _stop(self, what: Deadline) -> None:
        if (timer := self.timers.pop(what, None)) is not None:
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
    any_address, most = not is_loopback(host), site.limits.connections
    guard = Guard(site.app(), hosts, any_address, answer_error)
    full = Guard(answer_error(busy(f"{most} connections are open already")), hosts, any_address, answer_error)
    config = uvicorn.Config(
        guard,
        http=type("LimitedProtocol", (Protocol,), {"limits": site.limits, "full": staticmethod(full)}),
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
        guard.closes = True
        site.workers.stop()
        sock.listen(0)  # on Linux, further clients connect again after 1 s, to no server; none that waits is reset
        await asyncio.sleep(POLL)
        server.should_exit = True
        await serving
        if server.server_state.tasks:  # which uvicorn has cancelled
            await asyncio.wait(server.server_state.tasks, timeout=LAST)

    asyncio.run(serve())
