"""The body of a request, which a page of another site may not send.

Any web site can send requests to a server on the machine of its visitor. Its browser then sends a header `Origin` of
another site, or, for a name that the site lets resolve to this machine (DNS rebinding), another `Host`.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_BYTES = 20_000_000
"""Bytes of a body, such as a photograph."""


async def receive(request: Request) -> bytes:
    """Receive a body, which is never written to disk. Raises: HTTPException, ClientDisconnect."""
    if set(request.headers.getlist("origin")) - {f"http://{request.headers['host']}"}:
        raise HTTPException(403, "requests of other web sites are not accepted")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BYTES:
            most = f"{MAX_BYTES // 1_000_000} MB"
            raise HTTPException(413, f"expected a photograph of at most {most}, got more; make it smaller")
    return bytes(content)
