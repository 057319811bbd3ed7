"""The routes of the server: the page, `POST /caption` and `GET /healthz`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from captioner.inference.caption import to_record
from captioner.serve.http_headers import security_headers
from captioner.serve.limits import RequestError, stopping
from captioner.serve.page import POLICY, UploadPage
from captioner.serve.security import App
from captioner.serve.service import CaptionResult, Service
from captioner.serve.upload import Memory, receive
from captioner.serve.workers import Job, WorkerPool
from captioner.text.strict_json import to_json
from captioner.text.vocabulary import SPECIAL

FAILURE = "internal error while captioning this photograph; the server's stderr has the reason"


class Site:
    """The endpoints. `report` is called with the error, for the operator, if the model or the program fails."""

    def __init__(self, service: Service, report: Callable[[Exception], object]) -> None:
        self.service, self.limits, self.report = service, service.limits, report
        self.pool = WorkerPool(self.limits.workers, self.limits.queue)
        self.memory = Memory(max(self.limits.held_bytes, self.limits.max_request))
        self._pending: set[asyncio.Timeout] = set()
        loaded = service.captioner.loaded
        self.page = UploadPage(
            service.name, service.encoder.identity, len(loaded.vocab) - len(SPECIAL), service.options, self.limits
        )

    def app(self) -> App:
        """Return the application."""
        routes = [
            Route("/", self.show, methods=["GET"]),
            Route("/", self.submit, methods=["POST"]),
            Route("/caption", self.caption, methods=["POST"]),
            Route("/healthz", self.health, methods=["GET"]),
        ]
        handlers: dict[Any, Any] = {HTTPException: _of_starlette, Exception: self._of_bug}
        app = Starlette(routes=routes, exception_handlers=handlers)
        app.router.redirect_slashes = False  # the redirection would have an absolute URL with the scheme http
        return app

    def stop(self) -> None:
        """Refuse the photographs that wait, and those that would have to wait."""
        self.pool.stop()

    def end(self) -> None:
        """Refuse the photographs that have no caption yet."""
        for pending in self._pending:
            pending.reschedule(0)

    async def show(self, request: Request) -> Response:
        """Return the page."""
        return _html(self.page.render())

    async def submit(self, request: Request) -> Response:
        """Caption the photograph of the form, and return the page with it."""
        given: dict[str, str] = {}
        try:
            found = await self._captioned(request, True, given)
        except RequestError as refusal:
            return _html(self.page.render(given, problem=refusal.reason), refusal)
        return _html(self.page.render(given, found))

    async def caption(self, request: Request) -> Response:
        """Caption a photograph, and return the JSON object of `captioner sample --json`."""
        try:
            found = await self._captioned(request, False, {})
        except RequestError as refusal:
            return answer_error(refusal)
        record, attention = to_record(found.caption), found.caption.attention
        if attention is not None:
            record["attention"] = attention.record()
        timing = ", ".join(f"{step};dur={1e3 * seconds:.1f}" for step, seconds in found.seconds.items())
        return _json(to_json(record), headers={"Server-Timing": timing})

    async def health(self, request: Request) -> Response:
        """Return whether the server works, and what it does."""
        pool = self.pool
        record = {"status": "ok", "model": self.service.name, "running": pool.running, "waiting": pool.waiting}
        return _json(to_json({**record, "overdue": pool.overdue}))

    async def _of_bug(self, request: Request, error: Exception) -> Response:
        self.report(error)
        return answer_error(RequestError(500, FAILURE))

    async def _captioned(self, request: Request, with_pictures: bool, given: dict[str, str]) -> CaptionResult:
        """Receive and caption a photograph; `given` gets the options of the request.

        Raises: RequestError.
        """
        with self.memory.body() as body:
            try:
                async with self._until_end():
                    upload = await receive(request, body, self.limits)
                    given.update(upload.options)
                    return await self._wait(request, partial(self.service.caption, upload, with_pictures))
            except RequestError:
                raise
            except ClientDisconnect:
                raise RequestError(400, "the connection was closed") from None  # nobody reads this
            except Exception as error:
                self.report(error)
                raise RequestError(500, FAILURE) from error

    @asynccontextmanager
    async def _until_end(self) -> AsyncIterator[None]:
        """Raises: RequestError when the server ends."""
        pending = asyncio.timeout(None)
        self._pending.add(pending)
        try:
            async with pending:
                yield
        except TimeoutError:
            if pending.expired():
                raise stopping() from None
            raise
        finally:
            self._pending.discard(pending)

    async def _wait(self, request: Request, work: Callable[[], CaptionResult]) -> CaptionResult:
        job: Job[CaptionResult] = self.pool.submit(work)
        future: asyncio.Future[Any] = asyncio.wrap_future(job.future)
        gone: asyncio.Future[Any] = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({future, gone}, timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                found: CaptionResult = future.result()
                return found._replace(seconds={"queue": job.waited, **found.seconds})
            if gone.done():
                raise ClientDisconnect
            raise RequestError(504, f"no caption within {self.limits.seconds:g} s; try a smaller photograph, or later")
        finally:
            gone.cancel()
            if not future.done():
                future.cancel()
                self.pool.give_up(job)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def answer_error(refusal: RequestError) -> Response:
    """Return a refusal as JSON."""
    return _json(to_json({"error": refusal.reason}), refusal.status, refusal.headers)


async def _of_starlette(request: Request, error: HTTPException) -> Response:
    """Return the error for an unknown path, or a method that is not allowed."""
    reasons = {404: "not found; expected /, /caption or /healthz", 405: f"{request.method}: not for {request.url.path}"}
    return answer_error(RequestError(error.status_code, reasons.get(error.status_code, error.detail), error.headers))


def _json(text: str, status: int = 200, headers: object = None) -> Response:
    return Response(f"{text}\n", status, headers, "application/json")  # type: ignore[arg-type]


def _html(page: bytes, refusal: RequestError | None = None) -> Response:
    status, more = (200, {}) if refusal is None else (refusal.status, refusal.headers)
    return Response(page, status, {**more, **security_headers(POLICY)}, "text/html")
