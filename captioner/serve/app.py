"""The routes of the server: the page and its form, `POST /caption` and `GET /healthz`."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from captioner.data.vocabulary import SPECIAL
from captioner.images.structure import HEIC_SUFFIXES
from captioner.inference.caption import to_record
from captioner.inference.output_files import to_csv
from captioner.report.pictures import word_maps
from captioner.report.template import load_script, render
from captioner.serve.decoding_options import SHOWN, Field
from captioner.serve.security import App, OptionError, RequestError, security_headers, stopping
from captioner.serve.service import CaptionResult, Service, Workers
from captioner.serve.upload import Body, Memory, receive
from captioner.storage.files import to_json

FAILURE = "internal error while captioning this photograph; the server's stderr has the reason"
SCRIPT = load_script("serve.js")
POLICY = (
    f"default-src 'none'; script-src {SCRIPT.source}; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'"
)
"""The page runs its own script alone, and loads nothing but what the server returns to it."""


class Site:
    """The endpoints. `report` is called with the error, for the operator, if the model or the program fails."""

    def __init__(self, service: Service, report: Callable[[Exception], object]) -> None:
        self.service, self.limits, self.report = service, service.limits, report
        self.workers = Workers(self.limits.workers, self.limits.queue)
        self.memory = Memory(max(self.limits.held_bytes, self.limits.max_request))

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

    async def show(self, request: Request) -> Response:
        """Return the page."""
        return self._page()

    async def submit(self, request: Request) -> Response:
        """Caption the photograph of the form, and return the page with it."""
        options: dict[str, str] = {}
        try:
            return self._page(options, await self._captioned(request, True, options))
        except RequestError as refusal:
            return self._page(options, refusal=refusal)

    async def caption(self, request: Request) -> Response:
        """Caption a photograph, and return the JSON object of `captioner sample --json`."""
        try:
            result = await self._captioned(request, False, {})
        except RequestError as refusal:
            return answer_error(refusal)
        record, attention = to_record(result.caption), result.caption.attention
        if attention is not None:
            record["attention"] = attention.record()
        return _json(record)

    async def health(self, request: Request) -> Response:
        """Return whether the server works, and what it does."""
        return _json({"status": "ok", "model": self.service.name, **self.workers.counts()})

    async def _of_bug(self, request: Request, error: Exception) -> Response:
        self.report(error)
        return answer_error(RequestError(500, FAILURE))

    async def _captioned(self, request: Request, with_pictures: bool, options: dict[str, str]) -> CaptionResult:
        """Receive and caption a photograph, and put the options of the request into `options`.

        Raises: RequestError.
        """
        with Body(self.memory) as body:
            try:
                upload = await receive(request, body, self.limits)
                options.update(upload.options)
                return await self._wait(request, partial(self.service.caption, upload, with_pictures))
            except RequestError:
                raise
            except asyncio.CancelledError:  # by uvicorn, at the end of the time for graceful shutdown
                raise stopping() from None
            except ClientDisconnect:
                raise RequestError(400, "the connection was closed") from None  # nobody reads this
            except Exception as error:
                self.report(error)
                raise RequestError(500, FAILURE) from error

    async def _wait(self, request: Request, work: Callable[[], CaptionResult]) -> CaptionResult:
        job = asyncio.ensure_future(self.workers.run(work))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({job, gone}, timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if job.done():
                return job.result()
            if gone.done():
                raise ClientDisconnect
            raise RequestError(504, f"no caption within {self.limits.seconds:g} s; try a smaller photograph, or later")
        finally:
            gone.cancel()
            job.cancel()

    def _page(
        self,
        options: Mapping[str, str] | None = None,
        result: CaptionResult | None = None,
        refusal: RequestError | None = None,
    ) -> Response:
        """Return the page with the options of a request, and its captioned photograph or a problem."""
        service = self.service
        fields = service.options.fields()
        page = render(
            "serve.html",
            title="Caption photographs",
            policy=POLICY,
            script=SCRIPT.text,
            model=service.name,
            words=len(service.captioner.loaded.vocab) - len(SPECIAL),
            limits=self.limits,
            fields=fields,
            shown=SHOWN,
            csv_header=to_csv([]),
            has_attention=service.options.has_attention,
            accept=",".join(("image/*", *sorted(HEIC_SUFFIXES))),
            options=options or {},
            attention=service.options.has_attention and (options is None or "attention" in options),
            result=None if result is None else _values(result),
            problem="" if refusal is None else _reason(refusal, fields),
            problem_of_options=isinstance(refusal, OptionError),
        )
        status, headers = (200, {}) if refusal is None else (refusal.status, refusal.headers)
        return Response(page, status, {**headers, **security_headers(POLICY)}, "text/html")


def _reason(refusal: RequestError, fields: Iterable[Field]) -> str:
    """Return the reason for a refusal; options and their values are named as in the form."""
    words = {field.name: field.label for field in fields} | SHOWN if isinstance(refusal, OptionError) else {}
    return re.sub(r"\w+", lambda match: words.get(match[0], match[0]), refusal.reason)


def _values(result: CaptionResult) -> dict[str, Any]:
    """Return the values of the template for a captioned photograph."""
    attention = result.caption.attention
    return {
        **result._asdict(),
        "csv": to_csv([result.caption], header=False),
        "is_small": result.preview.startswith("data:image/png"),
        "attention": None if attention is None else word_maps(attention),
        "grid": None if attention is None else attention.grid,
        "id": f"square-{secrets.token_hex(4)}",  # a page shows several photographs
    }


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def answer_error(refusal: RequestError) -> Response:
    """Return a refusal as JSON."""
    return _json({"error": refusal.reason}, refusal.status, refusal.headers)


async def _of_starlette(request: Request, error: HTTPException) -> Response:
    """Return the error for an unknown path, or a method that is not allowed."""
    reasons = {404: "not found; expected /, /caption or /healthz", 405: f"{request.method}: not for {request.url.path}"}
    return answer_error(RequestError(error.status_code, reasons.get(error.status_code, error.detail), error.headers))


def _json(record: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(f"{to_json(record)}\n", status, headers, "application/json")
