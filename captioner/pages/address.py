"""The address of a page on this machine, and the error if a server cannot use it."""

from __future__ import annotations

import errno

from captioner.errors import CaptionerError

REASONS = {
    errno.EADDRINUSE: "port in use by another program; choose another with --port, or any free one with --port 0",
    errno.EACCES: "port needs the rights of an administrator; choose one above 1023 with --port",
    errno.EADDRNOTAVAIL: "not an address of this machine; try --host 127.0.0.1",
}


def page_url(host: str, port: int) -> str:
    """Return the address of a page."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def address_error(host: str, port: int, error: OSError) -> CaptionerError:
    """Return the error for an address that cannot be bound."""
    reason = REASONS.get(error.errno or 0, f"cannot be opened: {error.strerror}")
    return CaptionerError(f"{page_url(host, port)}: {reason}")
