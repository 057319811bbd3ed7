"""Run the application on a socket until it is stopped, with uvicorn."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from captioner.errors import CaptionerError, UsageError

GRACE = 5
"""Seconds for the requests that run when the server is stopped."""
POLL = 0.05
CONNECTIONS = 256
"""Open connections; the requests of further ones get status 503."""
REASONS = {
    errno.EADDRINUSE: "port in use by another program; choose another with --port, or any free one with --port 0",
    errno.EACCES: "port needs the rights of an administrator; choose one above 1023 with --port",
    errno.EADDRNOTAVAIL: "not an address of this machine; try --host 127.0.0.1",
}


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
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen()  # now, so that a second server on the same port is an error here
    except OSError as error:
        sock.close()
        reason = REASONS.get(error.errno or 0, f"cannot be opened: {error.strerror}")
        raise CaptionerError(f"{page_url(host, port)}: {reason}") from error
    return sock


def page_url(host: str, port: int) -> str:
    """Return the address of a page."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def run(app: ASGIApp, sock: socket.socket, stop: Callable[[], bool]) -> None:
    """Serve an application until `stop` returns true, or a signal arrives, which is raised again at the end.

    Requests then have `GRACE` seconds.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="critical",  # what a client does wrong is no message for the operator
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE,
    )
    server = uvicorn.Server(config)

    async def serve() -> None:
        serving = asyncio.ensure_future(server.serve([sock]))
        while not serving.done() and not stop():
            await asyncio.wait({serving}, timeout=POLL)
        server.should_exit = True
        await serving

    asyncio.run(serve())
