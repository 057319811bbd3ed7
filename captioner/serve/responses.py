"""Responses: JSON objects of one line, errors, and the page, with their security headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from captioner.files.user_files import to_json

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
