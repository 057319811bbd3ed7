"""The application: the page, and `POST /caption`, which captions one photograph.

The options of a request are those of `decode.*` and `caption.*` by their last names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from captioner.captioning.caption import to_record
from captioner.captioning.captioner import Captioner
from captioner.captioning.checks import OF_SUMMARY
from captioner.captioning.image_batch import photo_batch
from captioner.config.option_table import MAX_SHOWN, OPTIONS, Bound, Option, closest, read, write
from captioner.config.overrides import Values
from captioner.data.vocabulary import SPECIAL
from captioner.errors import ConfigError, DataError, UsageError, printable
from captioner.images.decode import DecodingProcess
from captioner.images.encoders import Encoder, encode_photo
from captioner.images.labels import has_labels
from captioner.images.photo import HEIC_SUFFIXES
from captioner.report.template import load_script, render
from captioner.serve.guard import error_response, json_response, page_response

NAME = "image"
"""The option of a request that names its photograph."""
UNNAMED, MAX_NAME = "photograph", 255
FAILURE = "internal error while captioning this photograph; the server's stderr has the reason"
LATER = {"Retry-After": "5"}
SCRIPT = load_script("serve.js")
POLICY = (
    f"default-src 'none'; script-src {SCRIPT.source}; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'"
)
"""The page runs its own script alone, and loads nothing but what the server returns to it."""


@dataclass(frozen=True)
class Limits:
    """What one request, and all requests together, may use."""

    max_bytes: int = 20_000_000
    """Bytes of a photograph."""
    workers: int = 2
    """Photographs that are captioned at the same time."""
    queue: int = 32
    """Photographs that are received, wait or are captioned at the same time."""
    seconds: float = 60.0
    """Seconds from the headers of a request to the last byte of its photograph."""


class Site:
    """A captioner with its encoder, as requests use it.

    `report` is called with the error, for the operator, if the model or the program fails.
    """

    def __init__(
        self, captioner: Captioner, encoder: Encoder, name: str, limits: Limits, report: Callable[[Exception], object]
    ) -> None:
        self.captioner, self.encoder, self.name, self.limits, self.report = captioner, encoder, name, limits, report
        self.options = RequestOptions(captioner)
        self.photographs = 0
        """Photographs that are received, wait or are captioned."""
        self._decoder = DecodingProcess()
        self._workers = ThreadPoolExecutor(limits.workers, "captioner-serve")

    def app(self) -> Starlette:
        """Return the application."""
        routes = [Route("/", self.page, methods=["GET"]), Route("/caption", self.caption, methods=["POST"])]
        handlers: dict[Any, Any] = {HTTPException: _refused, Exception: self._failed}
        app = Starlette(routes=routes, exception_handlers=handlers)
        app.router.redirect_slashes = False  # the redirection would have an absolute URL with the scheme http
        return app

    def close(self) -> None:
        """Drop the photographs that wait."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._decoder.close()

    async def page(self, request: Request) -> Response:
        """Return the page."""
        loaded = self.captioner.loaded
        page = render(
            "serve.html",
            title="Caption photographs",
            policy=POLICY,
            script=SCRIPT.text,
            model=self.name,
            words=len(loaded.vocab) - len(SPECIAL),
            max_bytes=self.limits.max_bytes,
            accept=",".join(("image/*", *sorted(HEIC_SUFFIXES))),
            fields=self.options.fields(),
        )
        return page_response(page, POLICY)

    async def caption(self, request: Request) -> Response:
        """Caption a photograph, and return the JSON object of `captioner sample --json`, with attention if asked."""
        if self.photographs >= self.limits.queue:
            reason = f"{self.limits.queue} photographs are received or captioned already; try again later"
            raise HTTPException(503, reason, LATER)
        self.photographs += 1
        try:
            texts = dict(request.query_params)
            name = printable(texts.pop(NAME, "").replace("\\", "/").rpartition("/")[2], MAX_NAME) or UNNAMED
            values = self.options.read(texts)
            captioner = self.captioner.with_options(values, dict.fromkeys(values, ""))
            content = await self._receive(request)
            work = asyncio.get_running_loop().run_in_executor
            return json_response(await work(self._workers, self._caption, content, name, captioner))
        except ConfigError as error:
            raise HTTPException(400, in_words_of_request(error)) from None
        except (UsageError, DataError) as error:
            raise HTTPException(400 if isinstance(error, UsageError) else 422, str(error)) from None
        except asyncio.CancelledError:  # by uvicorn, at the end of the time for requests that run
            raise HTTPException(503, "the server is stopping; try again later", LATER) from None
        finally:
            self.photographs -= 1

    async def _receive(self, request: Request) -> bytes:
        """Receive a photograph, which is never written to disk. Raises: HTTPException."""
        content, most, seconds = bytearray(), self.limits.max_bytes, self.limits.seconds
        too_large = HTTPException(
            413, f"expected a photograph of at most {most / 1e6:.3g} MB, got more; make it smaller"
        )
        if int(request.headers.get("content-length", "0")) > most:
            raise too_large
        try:
            async with asyncio.timeout(seconds):
                async for chunk in request.stream():
                    if len(content) + len(chunk) > most:
                        raise too_large
                    content += chunk
        except TimeoutError:
            reason = f"the photograph did not arrive within {seconds:g} s; try a smaller one"
            raise HTTPException(408, reason, {"Connection": "close"}) from None
        except ClientDisconnect:
            raise HTTPException(400, "the connection was closed") from None  # nobody reads this
        if not content:
            raise HTTPException(422, "expected a photograph as the body of the request, got nothing")
        return bytes(content)

    def _caption(self, content: bytes, name: str, captioner: Captioner) -> dict[str, Any]:
        """Caption a photograph in a worker. Raises: DataError, ConfigError."""
        photo = encode_photo(self.encoder, Path(name), content, self._decoder.decode)
        (caption,) = captioner.captions([photo_batch([photo], captioner.loaded)])
        return to_record(caption)

    async def _failed(self, request: Request, error: Exception) -> Response:
        self.report(error)
        return json_response({"error": FAILURE}, 500)


async def _refused(request: Request, error: HTTPException) -> Response:
    """Return the error of a request; Starlette raises those for an unknown path or method."""
    path: Mapping[int, str] = {
        404: "not found; expected / or /caption",
        405: f"{request.method}: not for {request.url.path}",
    }
    return error_response(HTTPException(error.status_code, path.get(error.status_code, error.detail), error.headers))


SECTIONS = ("caption.", "decode.")
OFFERED = {path.partition(".")[2]: path for section in SECTIONS for path in OPTIONS if path.startswith(section)}
"""The options that requests may set, by name."""
CAPS = {"decode.beam_width": 100, "decode.max_length": 100}
"""Maximum values, unless the model's own is larger: the time of a caption grows with their product."""
FIRST_VALUES = {"labels": "5"}
"""Values of fields of the page, if they are not those of the model."""


class Field(NamedTuple):
    """A field of the page: an option with the model's own value, and attributes of its HTML element."""

    name: str
    label: str
    doc: str
    own: str
    choices: tuple[str, ...]
    value: str
    attributes: Mapping[str, Any]


class RequestOptions:
    """The options that requests may set for a model, by name."""

    def __init__(self, captioner: Captioner) -> None:
        loaded = captioner.loaded
        self.own = loaded.config
        absent = {
            *(() if loaded.summary else (path.partition(".")[2] for path in OF_SUMMARY)),
            *(() if loaded.summary and loaded.summary.familiarity else ("unfamiliar_below",)),
            *(() if has_labels(loaded.meta.encoder) else ("labels",)),
            *(() if loaded.meta.region_dim else ("attention",)),
        }
        self.table: Mapping[str, Option] = {
            name: self._capped(OPTIONS[path]) for name, path in OFFERED.items() if name not in absent
        }

    def _capped(self, option: Option) -> Option:
        if option.path not in CAPS:
            return option
        cap = Bound("<=", max(CAPS[option.path], attrgetter(option.path)(self.own)))
        return replace(option, bounds=(*(bound for bound in option.bounds if bound.sign != cap.sign), cap))

    def read(self, texts: Mapping[str, str]) -> Values:
        """Return the values of a request; an empty text counts as not given.

        Raises: UsageError for an unknown option, ConfigError for an invalid value.
        """
        given = {name: text.strip() for name, text in sorted(texts.items()) if text.strip()}
        return dict(self._value(name, text) for name, text in given.items())

    def _value(self, name: str, text: str) -> tuple[str, Any]:
        if name not in self.table:
            raise UsageError(f"{printable(name, MAX_SHOWN)}: not an option of this model{closest(name, self.table)}")
        try:
            return OFFERED[name], read(self.table[name], text)
        except ValueError as problem:
            raise ConfigError([f"{name}: {problem}"]) from None

    def fields(self) -> list[Field]:
        """Return the fields of the page."""
        return [self._field(name, option) for name, option in self.table.items()]

    def _field(self, name: str, option: Option) -> Field:
        own = write(option, attrgetter(option.path)(self.own))
        choices = ("true", "false") if option.kind is bool else option.choices
        attributes: dict[str, Any] = {"type": "text"}
        if option.kind in (int, float):
            limits = {"max" if bound.sign.startswith("<") else "min": bound.limit for bound in option.bounds}
            attributes = {"type": "number", "step": 1 if option.kind is int else "any", **limits}
        return Field(name, name.replace("_", " "), option.doc, own, choices, FIRST_VALUES.get(name, ""), attributes)


def in_words_of_request(error: ConfigError) -> str:
    """Return the problems of options without the names of their sections."""
    text = "; ".join(error.problems)
    for section in SECTIONS:
        text = text.replace(section, "")
    return text
