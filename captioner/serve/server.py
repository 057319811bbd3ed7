"""Run the server on a socket until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator

import uvicorn

from captioner.errors import UsageError
from captioner.serve.app import Site, answer_error
from captioner.serve.http_headers import LOOPBACK, address_error, host_name, is_loopback
from captioner.serve.protocol import with_limits
from captioner.serve.security import App, Guard

GRACE = 5
"""Seconds for the requests that run when the server is stopped."""
LAST = 2
"""Seconds for the responses to requests that did not end in time."""
POLL = 0.05
BACKLOG = 128


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
        raise address_error(host, port, error) from error
    return sock


def check_names(names: Iterable[str]) -> None:
    """Raises: UsageError for a further name of the server that no header `Host` can have."""
    for name in names:
        if not host_name(name):
            raise UsageError(f"--allow-host {name}: expected the name of a host, such as captions.example")


def guarded(site: Site, host: str, names: tuple[str, ...]) -> App:
    """Return the application for a server that is bound to `host`, and has further `names`."""
    hosts = frozenset((*LOOPBACK, host.lower(), *map(host_name, names)))
    return Guard(site.app(), hosts, not is_loopback(host), answer_error)


def run(site: Site, app: App, sock: socket.socket, stop: Callable[[], bool]) -> None:
    """Serve the application of a site until `stop` returns true; requests that run then have `GRACE` seconds to end."""
    config = uvicorn.Config(
        app,
        http=with_limits(site.limits),
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="critical",  # what a client does wrong is no message for the operator
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE + LAST,  # it cancels requests without a useful response
    )
    server = _Server(config)

    async def serve() -> None:
        serving = asyncio.ensure_future(server.serve([sock]))
        while not serving.done() and not stop():
            await asyncio.wait({serving}, timeout=POLL)
        server.should_exit = True
        site.stop()
        await asyncio.wait({serving}, timeout=GRACE)
        site.end()
        await serving

    asyncio.run(serve())
