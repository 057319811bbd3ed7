"""Refuse requests that other web sites send through the browser of a user, and send responses with security headers.

Any page can send requests to a server on the same machine. It can forge neither the headers `Origin` and
`Sec-Fetch-Site` nor, with a name that it lets resolve to this machine (DNS rebinding), the header `Host`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from captioner.errors import UsageError
from captioner.files.user_files import to_json

LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
"""Names of this machine."""
# the port is not checked, so that a page can be read through a tunnel to another machine
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")


class Guard:
    """An ASGI application that checks the headers of requests before another one sees them.

    `hosts` are names of this server. With `any_address`, IP addresses are accepted too: a server that is bound to
    another address than loopback has several, and DNS rebinding needs a name.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], any_address: bool) -> None:
        self._app, self._any_address = app, any_address
        self._hosts = LOOPBACK.union(host_name(host) or host.lower() for host in hosts) - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self.check(scope["method"], Headers(scope=scope))
        except HTTPException as error:
            await error_response(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def check(self, method: str, headers: Headers) -> None:
        """Check the headers of a request. Raises: HTTPException."""
        host = headers.get("host", "").lower()
        name = host_name(host)
        if name not in self._hosts and not (self._any_address and is_address(name)):
            raise HTTPException(
                421, "Host: not a name of this server; use the address that it printed, or --allow-host"
            )
        if method in ("GET", "HEAD"):  # harmless, such as a link on another site
            return
        origin = headers.get("origin")
        is_other = origin is not None and origin.lower().partition("://")[2] != host
        if is_other or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise HTTPException(403, "requests of other web sites are not accepted")


def host_name(host: str) -> str:
    """Return the name or address in a header `Host`, without the port, or an empty text if it is malformed."""
    match = _HOST.fullmatch(host)
    return "" if match is None else (match[1] or match[2]).lower().rstrip(".")


def check_host_names(names: Iterable[str]) -> None:
    """Raises: UsageError for a further name of the server that no header `Host` can have."""
    for name in names:
        if not host_name(name):
            raise UsageError(f"--allow-host {name}: expected the name of a host, such as captions.example")


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


HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def json_response(record: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON object of one line."""
    return Response(f"{to_json(record)}\n", status, {**HEADERS, **(headers or {})}, "application/json")


def error_response(error: HTTPException) -> Response:
    """Return the reason for a refused request."""
    return json_response({"error": error.detail}, error.status_code, error.headers)


def page_response(page: bytes, policy: str) -> Response:
    """Return a page with its Content-Security-Policy; other sites cannot frame it."""
    # frame-ancestors works in a header only, not in a page
    return Response(
        page,
        headers={**HEADERS, "Content-Security-Policy": f"{policy}; frame-ancestors 'none'"},
        media_type="text/html",
    )
