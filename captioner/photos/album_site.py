"""The requests of the page of `captioner serve` to an album: lists, photographs, pictures of them, and corrections.

All need the token in the address that the command prints, which other users of the machine and other web sites do not
know.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from captioner.data.table_cells import words_of
from captioner.decode.word_regression import WordRegression
from captioner.errors import CaptionerError, DataError, UsageError, printable, quoted
from captioner.files.user_files import read_bytes
from captioner.photos.album import NOWHERE, Album, Entry, is_id, thumbnails_of
from captioner.photos.album_page import values_of
from captioner.photos.photo import BYTES, decode_picture, to_jpeg
from captioner.photos.request_body import receive
from captioner.photos.search import deciding, read_query, search

THUMBNAIL, LARGE = 400, 1600
"""Maximum sides of pictures, in pixels: in the grid, and of a photograph alone."""
MAX_LISTED = 300
"""Photographs of a request."""
MAX_TEXT = 20_000
"""Bytes of a caption and keywords."""
FOLDERS = 2
"""The last folders of a path that the page shows."""
ORIGIN = "the page of captioner serve"
Answer = Callable[[Request], Awaitable[Response]]


class AlbumSite:
    """An album as requests use it: in one thread, as its database needs, and pictures in two.

    `regression` has the words of a search, None if the model has no summary of its training images.

    Raises: as `open_album`.
    """

    def __init__(self, open_album: Callable[[], Album], regression: WordRegression | None) -> None:
        self.token, self._regression = secrets.token_urlsafe(16), regression
        self._worker, self._pictures = ThreadPoolExecutor(1, "album"), ThreadPoolExecutor(2, "pictures")
        self._album = self._worker.submit(open_album).result()
        path = self._album.path
        self._thumbnails = path and thumbnails_of(path)

    def close(self) -> None:
        """Close the album."""
        self._worker.submit(self._album.close).result()

    async def has_any(self) -> bool:
        """Return whether the album has a photograph."""
        return bool(await self._in_album(self._album.has_any))

    def routes(self) -> list[Route]:
        """Return the routes of the requests."""
        return [
            Route("/album/list", self._guarded(self._get_list)),
            Route("/album/photographs", self._guarded(self._get_photographs)),
            Route("/album/thumbnail/{id}", self._guarded(self._get_thumbnail)),
            Route("/album/photograph/{id}", self._guarded(self._get_photograph)),
            Route("/album/correction/{id}", self._guarded(self._put_correction), methods=["PUT"]),
            Route("/album/correction/{id}", self._guarded(self._delete_correction), methods=["DELETE"]),
        ]

    def knows(self, request: Request) -> bool:
        """Return whether a request has the token."""
        return secrets.compare_digest(request.query_params.get("token", "").encode(), self.token.encode())

    def _guarded(self, answer: Answer) -> Answer:
        async def guarded(request: Request) -> Response:
            if not self.knows(request):
                raise HTTPException(403, "open the address that captioner serve printed")
            if not all(map(is_id, request.path_params.values())):
                raise HTTPException(404, "no photograph of the album")
            return await answer(request)

        return guarded

    async def _in_album(self, work: Callable[..., Any], *values: Any) -> Any:
        """Call a function in the thread of the album. Raises: HTTPException if another process writes for long."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work, *values)
        except (UsageError, DataError):
            raise
        except CaptionerError as error:
            raise HTTPException(503, str(error)) from None

    async def _get_list(self, request: Request) -> Response:
        """Return the ids of photographs, best first or in an order; the first `clear` of them clearly fit a query."""
        values = request.query_params
        chosen = values.get("show", "all"), values.get("order", "album"), values.get("query", "").strip()
        return JSONResponse(await self._in_album(self._list, *chosen))

    def _list(self, show: str, order: str, query: str) -> dict[str, Any]:
        places = self._album.ids(show, order)
        if not query:
            ids = [*dict.fromkeys(places.values())]
            return {"ids": ids, "clear": len(ids), "unknown": []}
        terms = read_query(query, self._regression)
        found = [match for match in search(self._album, terms, len(places)) if match.place in places]
        if order != "album":  # that of fit
            ranks = {place: rank for rank, place in enumerate(places)}
            found.sort(key=lambda match: (not match.is_clear, ranks[match.place]))
        fitting = {word.word for match in found for word in match.words}
        clear = {places[match.place] for match in found if match.is_clear}
        ids = [*dict.fromkeys(places[match.place] for match in found)]
        unknown = [term.word for term in deciding(terms) if term.near is not None and term.word not in fitting]
        return {"ids": ids, "clear": len(clear), "unknown": unknown}

    async def _get_photographs(self, request: Request) -> Response:
        """Return what the grid shows of photographs, by their ids; without those that the album has no more."""
        ids = request.query_params.get("ids", "").split(",")[:MAX_LISTED]

        def known() -> Iterator[dict[str, Any]]:
            for id in ids:
                with suppress(HTTPException):
                    yield self._values(self._entries(id))

        return JSONResponse(await self._in_album(lambda: [*known()]))

    def _entries(self, id: str) -> list[Entry]:
        """Return the entries of a photograph, those that exist first. Raises: HTTPException if it has no place."""
        entries = [entry for entry in self._album.find(id) if entry.path != NOWHERE]
        if not entries:
            raise HTTPException(404, "no photograph of the album")
        return sorted(entries, key=lambda entry: not os.path.lexists(entry.path))

    @staticmethod
    def _values(entries: list[Entry]) -> dict[str, Any]:
        entry, path = entries[0], str(entries[0].path)
        name = os.sep.join(path.split(os.sep)[-1 - FOLDERS :])
        values = values_of(entry) | {"id": entry.id, "name": printable(name), "path": printable(path)}
        more = {"by_person": entry.by_person, "generated": entry.generated.text, "revision": str(entry.revision)}
        return values | more | {"copies": len(entries) - 1}

    async def _get_thumbnail(self, request: Request) -> Response:
        """Return a small JPEG of a photograph, which is made once."""
        id = request.path_params["id"]
        file = self._thumbnails and self._thumbnails / f"{id}.jpg"
        if file and file.is_file():
            return _picture(file.read_bytes())
        content = await self._make(id, THUMBNAIL)
        if file:
            with suppress(OSError):  # the pictures are then made each time
                file.parent.mkdir(mode=0o700, exist_ok=True)
                temporary = file.with_name(f".{secrets.token_hex(8)}.tmp")
                temporary.write_bytes(content)
                temporary.replace(file)
        return _picture(content)

    async def _get_photograph(self, request: Request) -> Response:
        return _picture(await self._make(request.path_params["id"], LARGE))

    async def _make(self, id: str, side: int) -> bytes:
        """Return a JPEG of a photograph. Raises: HTTPException if it is gone, or has another picture now."""
        problem = ""
        for entry in await self._in_album(self._entries, id):
            try:
                return await asyncio.get_running_loop().run_in_executor(self._pictures, _jpeg, entry, side)
            except DataError as error:
                problem = problem or str(error)
        raise HTTPException(404, problem)

    async def _put_correction(self, request: Request) -> Response:
        """Add a correction, an object with `caption` and `keywords`: the same texts confirm what is generated."""
        try:
            values = json.loads(await receive(request))
            caption, words = " ".join(values["caption"].split()), values["keywords"]
            keywords = words_of(words if isinstance(words, str) else ",".join(words))
            size = len(json.dumps([caption, keywords], ensure_ascii=False).encode())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UsageError("expected a JSON object with caption and keywords, got something else") from None
        if not any(letter.isprintable() and not letter.isspace() for letter in caption):
            raise UsageError("expected a caption, got none; Escape restores it")
        if size > MAX_TEXT:
            raise UsageError(f"expected texts of at most {MAX_TEXT:,} bytes, got {size:,}")
        return await self._changed(request, lambda id: self._album.correct(id, (caption, keywords), ORIGIN))

    async def _delete_correction(self, request: Request) -> Response:
        """Take corrections back, and return the photograph."""
        await receive(request)
        return await self._changed(request, lambda id: self._album.correct(id, None, ORIGIN))

    async def _changed(self, request: Request, change: Callable[[str], None]) -> Response:
        """Change a photograph, unless another text was written since the page has shown it; return it."""

        def changed(id: str) -> dict[str, Any]:
            entry = self._entries(id)[0]
            if str(entry.revision) != request.query_params.get("revision"):
                raise HTTPException(409, f"changed elsewhere meanwhile, to {quoted(entry.caption.text)}")
            change(id)
            return self._values(self._entries(id))

        return JSONResponse(await self._in_album(changed, request.path_params["id"]))


def _jpeg(entry: Entry, side: int) -> bytes:
    """Return a photograph as a JPEG of at most a side. Raises: DataError if it has another picture than the entry."""
    photo, digest = decode_picture(read_bytes(entry.path, BYTES, expected="a photograph"), str(entry.path), side // 2)
    if f"p{digest.hex()}" != entry.id:
        raise DataError(f"{entry.path}: has changed since it was captioned; caption it again")
    return to_jpeg(photo, side)


def _picture(content: bytes) -> Response:
    headers = {"Cache-Control": "private, max-age=86400", "Cross-Origin-Resource-Policy": "same-origin"}
    return Response(content, media_type="image/jpeg", headers=headers)
