"""A read-only HTTP server for the user of this machine: on 127.0.0.1, with a fixed list of paths."""

from __future__ import annotations

import io
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, NamedTuple

from captioner.pages.address import address_error, page_url
from captioner.pages.http_headers import DENY_ALL, LOOPBACK, WRONG_HOST, host_name, security_headers

ADDRESS = "127.0.0.1"
TIMEOUT = 10.0
"""Seconds to send a request, and to read its response; the connection is then closed."""
CONNECTIONS = 64
"""Open connections, each of which has a thread."""


BUSY = (
    "HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 5\r\n"
    + "".join(f"{name}: {value}\r\n" for name, value in security_headers().items())
    + f"\r\n503 Service Unavailable: {CONNECTIONS} connections are open already\n"
).encode()


class Content(NamedTuple):
    """The content of a path. `tag` names its version, `policy` is its Content-Security-Policy."""

    body: bytes
    kind: str
    tag: str = ""
    policy: str = DENY_ALL


class LocalServer(ThreadingMixIn, TCPServer):
    """A server of `paths` on a port of 127.0.0.1; port 0 is any free port. Other paths and methods are refused.

    Raises: CaptionerError if the port cannot be used.
    """

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # on Windows, the option lets two programs use one port
    request_queue_size = 32

    def __init__(self, port: int, paths: Mapping[str, Callable[[], Content]]) -> None:
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        try:
            super().__init__((ADDRESS, port), partial(_Handler, paths))
        except OSError as error:
            raise address_error(ADDRESS, port, error) from error

    @property
    def url(self) -> str:
        """The URL of the path `/`."""
        return page_url(ADDRESS, self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle a connection in a new thread, or refuse it if there are too many."""
        if not self._free.acquire(blocking=False):
            with suppress(OSError):
                request.setblocking(False)  # the thread that accepts connections must not wait for a client
                request.send(BUSY)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()  # the thread was not started
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Handle a connection, in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a connection that the browser has closed; print the traceback of any other error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _UntilDeadline(io.RawIOBase):
    """The bytes of a connection until a deadline for all of them: a timeout of each read would start again."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection, self._end = connection, time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    """Handles one request."""

    server_version, sys_version = "captioner", ""

    def __init__(self, paths: Mapping[str, Callable[[], Content]], *arguments: Any) -> None:
        self._paths = paths
        super().__init__(*arguments)

    def setup(self) -> None:
        """Set the deadline of a request."""
        super().setup()
        self.rfile = io.BufferedReader(_UntilDeadline(self.connection, TIMEOUT))

    def parse_request(self) -> bool:
        """Parse a request, and refuse it if it is for another host."""
        if not super().parse_request():
            return False
        hosts = self.headers.get_all("Host", [])
        if len(hosts) == 1 and host_name(hosts[0]) in LOOPBACK:
            return True
        self.send_error(HTTPStatus.MISDIRECTED_REQUEST, explain=WRONG_HOST)
        return False

    def do_GET(self) -> None:
        """Send the content of a path, or 304 if the browser has this version."""
        content = self._paths.get(self.path)
        if content is None:
            self.send_error(HTTPStatus.NOT_FOUND, explain="no such page")
            return
        try:
            found = content()
        except Exception:
            self.send_error(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                explain="internal error; the stderr of captioner monitor has the reason",
            )
            raise
        tag = f'"{found.tag}"' if found.tag else ""
        if tag and self.headers.get("If-None-Match") == tag:
            self._send(HTTPStatus.NOT_MODIFIED, found._replace(body=b""), {"ETag": tag})
        else:
            self._send(HTTPStatus.OK, found, {"ETag": tag} if tag else {})

    def do_HEAD(self) -> None:
        """Send the headers of a path."""
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send an error as plain text; a method other than GET and HEAD is 405."""
        status = HTTPStatus(code)
        headers = {"Connection": "close"}
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status, explain = HTTPStatus.METHOD_NOT_ALLOWED, "expected GET or HEAD"
            headers["Allow"] = "GET, HEAD"
        text = f"{status.value} {status.phrase}: {explain or status.description or status.phrase}\n"
        self._send(status, Content(text.encode(), "text/plain; charset=utf-8"), headers)

    def _send(self, status: HTTPStatus, content: Content, headers: Mapping[str, str]) -> None:
        self.connection.settimeout(TIMEOUT)
        self.send_response(status)
        size = {"Content-Type": content.kind, "Content-Length": str(len(content.body))}
        for name, value in {**security_headers(content.policy), **size, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content.body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing: a page that refreshes itself sends a request every few seconds."""
