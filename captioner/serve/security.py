"""What the server accepts: limits, refused requests, and checks against cross-site requests (CSRF) and DNS rebinding,
with security headers and the names of the server.

Any web page that a user visits can send requests to a server on the same machine. It can neither forge the headers
`Origin` and `Sec-Fetch-Site`, nor, with a name that it lets resolve to this machine (DNS rebinding), the header `Host`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

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


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
MAX_HEADERS = 16 * 1024
"""Bytes of the URL and the headers of a request. The HTTP parser has this limit for those that arrive in parts only."""
LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
"""Names of this machine. With DNS rebinding, a web site lets its own name lead to 127.0.0.1; a request then has that
name in its header `Host`."""
DENY_ALL = "default-src 'none'; base-uri 'none'; form-action 'none'"
"""The Content-Security-Policy of a response that is no page."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# the port is not checked, so that a page can be read through a tunnel to another machine
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")


class Guard:
    """An ASGI application that checks the headers of requests before another one sees them.

    `hosts` are names of this server. With `any_address`, IP addresses are accepted too: a server that is bound to
    another address than loopback has several, and DNS rebinding needs a name. `refuse` returns the response to
    a refused request.
    """

    def __init__(
        self, app: App, hosts: frozenset[str], any_address: bool, refuse: Callable[[RequestError], App]
    ) -> None:
        self._app, self._hosts, self._any_address, self._refuse = app, hosts, any_address, refuse
        self.closes = False
        """Whether connections are closed after their responses."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                added = security_headers() | ({"Connection": "close"} if self.closes else {})
                more = ((name.lower().encode(), value.encode()) for name, value in added.items())
                message["headers"] = [*message["headers"], *(pair for pair in more if pair[0] not in present)]
            await send(message)

        app = self._app
        try:
            parts = [scope["raw_path"], scope["query_string"], *chain.from_iterable(scope["headers"])]
            if sum(map(len, parts)) > MAX_HEADERS:
                raise RequestError(431, f"expected a URL and headers of at most {MAX_HEADERS:,} bytes, got more")
            self.check(scope["method"], scope["headers"])
        except RequestError as refusal:
            app = self._refuse(refusal)
        await app(scope, receive, send_with_headers)

    def check(self, method: str, headers: list[tuple[bytes, bytes]]) -> None:
        """Check the headers of a request. Raises: RequestError."""
        names = [name for name, _ in headers]
        for key in (b"host", b"origin"):
            if names.count(key) > 1:
                raise RequestError(400, f"expected one header {key.decode().title()}, got several")
        values = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        host = values.get("host", "").lower()
        name = host_name(host)
        if not name or not (name in self._hosts or (self._any_address and is_address(name))):
            raise RequestError(421, "Host: not a name of this server; use the address that it printed, or --allow-host")
        site, origin = values.get("sec-fetch-site"), values.get("origin")
        is_link = method == "GET" and values.get("sec-fetch-dest") == "document"  # on another site; it is harmless
        if site not in (None, "same-origin", "none") and not is_link:
            raise RequestError(403, "requests of other web sites are not accepted")
        # this server has no TLS; a reverse proxy in front may have it
        schemes = ("http", "https") if name in self._hosts - LOOPBACK else ("http",)
        # with the policy no-referrer, a form of the page itself has the origin null; a browser vouches for it
        is_form_of_page = origin == "null" and site == "same-origin"
        if origin is not None and not is_form_of_page and origin.lower() not in {f"{s}://{host}" for s in schemes}:
            raise RequestError(403, "Origin: requests of other web sites are not accepted")


def security_headers(policy: str = DENY_ALL) -> dict[str, str]:
    """Return the security headers of a response with this Content-Security-Policy."""
    # frame-ancestors works in a header only, not in a page
    return {"Content-Security-Policy": f"{policy}; frame-ancestors 'none'", **_HEADERS}


def host_name(host: str) -> str:
    """Return the name or address in a header `Host`, without the port, or an empty string if it is malformed."""
    match = _HOST.fullmatch(host)
    return "" if match is None else (match[1] or match[2]).lower().rstrip(".")


def is_loopback(host: str) -> bool:
    """Return whether a name or address to bind to is reached from this machine alone."""
    return host.lower() in LOOPBACK or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_address(name: str) -> bool:
    """Return whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
