"""Refuse requests that other web sites start, and add the headers that keep browsers from trusting other content.

Any web page that a user visits can send requests to a server on the same machine. It can neither forge the headers
`Origin` and `Sec-Fetch-Site`, nor, with a name that it lets resolve to this machine (DNS rebinding), the header `Host`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from captioner.serve.limits import RequestError

LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""The headers of every answer; a page has another policy, which allows its own script and pictures."""
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """An ASGI application that checks the headers of requests before another one sees them.

    `hosts` are names of this server. With `any_address`, IP addresses are accepted too: a server that is bound to
    another address than loopback has several, and DNS rebinding needs a name. `refuse` answers a refused request.
    """

    def __init__(
        self, app: App, hosts: frozenset[str], any_address: bool, refuse: Callable[[RequestError], App]
    ) -> None:
        self._app, self._hosts, self._any_address, self._refuse = app, hosts, any_address, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                more = ((name.lower().encode(), value.encode()) for name, value in HEADERS.items())
                message["headers"] = [*message["headers"], *(pair for pair in more if pair[0] not in present)]
            await send(message)

        app = self._app
        try:
            self.check(scope["method"], scope["headers"])
        except RequestError as refusal:
            app = self._refuse(refusal)
        await app(scope, receive, send_with_headers)

    def check(self, method: str, headers: list[tuple[bytes, bytes]]) -> None:
        """Check the headers of a request. Raises: RequestError."""
        values: dict[str, str] = {}
        for name, value in headers:
            key = name.decode("latin-1")
            if key in ("host", "origin") and key in values:
                raise RequestError(400, f"expected one header {key.title()}, got several")
            values[key] = value.decode("latin-1")
        host = values.get("host", "")
        if not self._is_own(host_name(host)):
            raise RequestError(403, "Host: not a name of this server; use the address that it printed, or --allow-host")
        site, origin = values.get("sec-fetch-site"), values.get("origin")
        if site not in (None, "same-origin", "none"):
            # a link to the page on another site is harmless
            is_link = method == "GET" and values.get("sec-fetch-dest") == "document"
            if not is_link:
                raise RequestError(403, "requests of other web sites are not accepted")
        # With the policy no-referrer, a form of the page itself has the origin null; a browser vouches for it.
        is_own_form = origin == "null" and site == "same-origin"
        if origin is not None and not is_own_form and origin.partition("://")[2].lower() != host.lower():
            raise RequestError(403, "Origin: requests of other web sites are not accepted")

    def _is_own(self, name: str) -> bool:
        return name in self._hosts or (self._any_address and _is_address(name))


def host_name(host: str) -> str:
    """Return the name or address in a header `Host`, without the port and the brackets of an IPv6 address."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def is_loopback(host: str) -> bool:
    """Return whether a name or address to bind to is reached from this machine alone."""
    return host.lower() in LOOPBACK or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
