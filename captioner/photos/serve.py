"""The web page of `captioner serve`, `POST /caption`, which captions one photograph, and `POST /preview`; the requests
to an album are those of `AlbumSite`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from captioner.captioning.caption import MARKS, TABLE_COLUMNS, Caption, to_record
from captioner.config.option_table import MAX_SHOWN
from captioner.data.table_cells import csv_line
from captioner.data.vocabulary import SPECIAL
from captioner.errors import CaptionerError, DataError, UsageError, printable
from captioner.photos.album_site import AlbumSite
from captioner.photos.captioner import PhotoCaptioner
from captioner.photos.encoders import decode_for, encode_decoded
from captioner.photos.photo import HEIC_SUFFIXES, decode_photo, to_jpeg
from captioner.photos.photographs import photo_batch
from captioner.photos.request_body import receive
from captioner.report.template import load_script, render

ADDRESS = "127.0.0.1"
MAX_CONNECTIONS = 32
"""Open connections, and so photographs that are received or wait; the requests of further ones get status 503."""
GRACE = 5
"""Seconds for the requests that run when the server is stopped."""
IDLE = 5
"""Seconds without a byte after which the server closes a connection that it waits for."""
NAME = Path("photograph")
"""The name in captions and errors of a photograph whose request does not name it."""
PREVIEW = 800
"""Maximum side of a preview, in pixels: twice that of a photograph on the page, for screens of high density."""
FAILURE = "internal error; the server's stderr has the reason"


class Site:
    """A captioner with its encoder, as requests use it: one photograph at a time.

    `report` is called with the error, for the operator, if the model or the program fails.
    """

    def __init__(
        self,
        captioner: PhotoCaptioner,
        name: str,
        report: Callable[[Exception], object],
        album: AlbumSite | None = None,
    ) -> None:
        self._captioner, self._name, self._report, self._album = captioner, name, report, album
        if captioner.loaded.meta.region_dim:  # the page has maps
            self._captioner = captioner.with_options({"caption.attention": True})
        self._worker, self._turn = ThreadPoolExecutor(1, "captioner-serve"), asyncio.Lock()

    def app(self) -> Starlette:
        """Return the application."""
        routes = [
            Route("/", self._page),
            Route("/caption", until_stopped(self._post_caption), methods=["POST"]),
            Route("/preview", until_stopped(self._post_preview), methods=["POST"]),
            *(self._album.routes() if self._album else ()),
        ]
        hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[ADDRESS, "localhost"])
        handlers: dict[Any, Any] = {HTTPException: _refused, Exception: self._failed}
        handlers[UsageError] = partial(_invalid, status=400)
        # a client that has left does not read this
        handlers |= dict.fromkeys((DataError, ClientDisconnect), partial(_invalid, status=422))
        return Starlette(routes=routes, middleware=[hosts], exception_handlers=handlers)

    async def _page(self, request: Request) -> Response:
        """Return the page."""
        loaded, album = self._captioner.loaded, self._album
        has_token = album is not None and album.knows(request)
        page = render(
            "serve.html",
            title="Caption photographs",
            script=load_script("common.js", "grid.js", "serve.js", "live.js"),
            has_album=album is not None,
            token=album.token if album and has_token else "",
            start="album" if album and has_token and await album.has_any() else "caption",
            model=self._name,
            words=len(loaded.vocab) - len(SPECIAL),
            accept=",".join(("image/*", *sorted(HEIC_SUFFIXES))),
            marks={name: mark.meaning for name, mark in MARKS.items()},
            header=csv_line(TABLE_COLUMNS),
        )
        # in a page, frame-ancestors has no effect
        return HTMLResponse(page, headers={"Content-Security-Policy": "frame-ancestors 'none'"})

    async def _post_caption(self, request: Request) -> Response:
        """Caption a photograph, and return the JSON object of `captioner caption --json`.

        If the request names the photograph, the object also has its line of a table.

        Raises: UsageError for an unknown parameter of the query.
        """
        content, query = await receive(request), dict(request.query_params)
        name = query.pop("image", "")
        if query:
            raise UsageError(f"{printable(min(query), MAX_SHOWN)}: unknown; expected image; set options with -o")
        caption = await self._work(request, self._caption, content, Path(name or NAME))
        row = {"row": csv_line(cell(caption) for cell in TABLE_COLUMNS.values())} if name else {}
        return JSONResponse({**to_record(caption), **row})

    async def _post_preview(self, request: Request) -> Response:
        """Return a photograph as a small JPEG: a browser may not know its format."""
        return Response(await self._work(request, self._preview, await receive(request)), media_type="image/jpeg")

    async def _work(self, request: Request, work: Callable[..., Any], *values: Any) -> Any:
        """Call a function in the worker when it is free.

        Raises: ClientDisconnect if the client has left by then; HTTPException if the memory does not suffice.
        """
        async with self._turn:
            if await request.is_disconnected():
                raise ClientDisconnect
            try:
                return await asyncio.get_running_loop().run_in_executor(self._worker, work, *values)
            except MemoryError:
                raise HTTPException(422, "not enough memory for this photograph; make it smaller") from None

    def _caption(self, content: bytes, name: Path) -> Caption:
        """Caption a photograph, in the worker. Raises: DataError."""
        captioner = self._captioner
        decoded = decode_for(captioner.encoder, name, content, captioner.loaded.meta.photo_side)
        photo = encode_decoded(captioner.encoder, decoded)
        (caption,) = captioner.captions([photo_batch([photo], captioner.loaded)])
        return caption

    def _preview(self, content: bytes) -> bytes:
        """Return a photograph as a small JPEG, in the worker. Raises: DataError."""
        return to_jpeg(decode_photo(content, str(NAME), PREVIEW // 2), PREVIEW)

    async def _failed(self, request: Request, error: Exception) -> Response:
        self._report(error)
        return JSONResponse({"error": FAILURE}, 500)


def until_stopped(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Answer with status 503 if the server is stopped while it receives a photograph, or captions it."""

    async def answer_or_503(request: Request) -> Response:
        try:
            return await answer(request)
        except asyncio.CancelledError:
            raise HTTPException(503, "the server was stopped") from None

    return answer_or_503


async def _refused(request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _invalid(request: Request, error: Exception, status: int) -> Response:
    return JSONResponse({"error": str(error)}, status)


def listen(port: int) -> socket.socket:
    """Open the socket of the server, which only this machine can reach; port 0 is any free one.

    Raises: CaptionerError if the port cannot be opened.
    """
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise CaptionerError(f"--port {port}: {reason}; try another port, or any free one with --port 0") from error


class IdleTimeout(H11Protocol):
    """HTTP/1.1 that closes a connection whose client sends nothing; a few of them would keep all others out.

    uvicorn starts its timer only after a response.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(IDLE, transport.close)

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):  # part of a request
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(IDLE, self.transport.close)


def run_app(app: Starlette, sock: socket.socket) -> None:
    """Serve an application until SIGINT or SIGTERM, which is raised again when the running requests have ended."""
    config = uvicorn.Config(
        app,
        http=IdleTimeout,
        log_level="critical",  # what a client does wrong is no message for the operator
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=GRACE,
    )
    uvicorn.Server(config).run([sock])
