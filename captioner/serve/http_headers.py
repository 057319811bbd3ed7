"""HTTP headers that protect a response, and the addresses and names of the server."""

from __future__ import annotations

import errno
import ipaddress
import re

from captioner.errors import CaptionerError

LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
"""Names of this machine. With DNS rebinding, a web site lets its own name lead to 127.0.0.1; a request then has that
name in its header `Host`."""
WRONG_HOST = "Host: not a name of this server; use the address that it printed"
"""The reason of status 421, with which a request to another name is refused."""
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
REASONS = {
    errno.EADDRINUSE: "port in use by another program; choose another with --port, or any free one with --port 0",
    errno.EACCES: "port needs the rights of an administrator; choose one above 1023 with --port",
    errno.EADDRNOTAVAIL: "not an address of this machine; try --host 127.0.0.1",
}
# the port is not checked, so that a page can be read through a tunnel to another machine
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")


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


def page_url(host: str, port: int) -> str:
    """Return the address of a page."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def address_error(host: str, port: int, error: OSError) -> CaptionerError:
    """Return the error for an address that cannot be bound."""
    reason = REASONS.get(error.errno or 0, f"cannot be opened: {error.strerror}")
    return CaptionerError(f"{page_url(host, port)}: {reason}")
