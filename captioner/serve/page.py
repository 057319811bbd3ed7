"""The page: the form, and a captioned photograph or the problem of a request."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, NamedTuple

from captioner.images.attention_picture import visibility
from captioner.images.heic import SUFFIXES
from captioner.inference.attention import Attention
from captioner.pages.template import render
from captioner.serve.decoding_options import DecodingOptions
from captioner.serve.limits import Limits
from captioner.serve.service import Captioned

SCRIPT = files("captioner.pages").joinpath("templates", "serve.js").read_text("utf-8")
_DIGEST = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; script-src 'sha256-{_DIGEST}'; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'"
)
"""The page runs its own script alone, and loads nothing but what the server answers to it."""
HEADERS = {"Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'"}
STEPS = {"queue": "waiting", "photograph": "photograph", "encoder": "encoder", "caption": "caption"}
SIDE = 100


class Cell(NamedTuple):
    """A region of a panel, in percent of its side, and how much of the photograph is covered."""

    x: float
    y: float
    width: float
    height: float
    cover: float


class Panel(NamedTuple):
    """The attention of a word."""

    word: str
    cells: list[Cell]
    strongest: float
    sentinel: float


class Page:
    """Renders the page of a model."""

    def __init__(self, name: str, encoder: str, words: int, options: DecodingOptions, limits: Limits) -> None:
        self._values: dict[str, Any] = {
            "title": "Caption photographs",
            "policy": POLICY,
            "script": SCRIPT,
            "model": name,
            "encoder": encoder,
            "words": words,
            "limits": limits,
            "fields": options.fields(),
            "has_attention": options.has_attention,
            "accept": ",".join(("image/*", *sorted(SUFFIXES))),
        }

    def render(
        self, given: Mapping[str, str] | None = None, found: Captioned | None = None, problem: str = ""
    ) -> bytes:
        """Render the page with the options that were `given`, and the captioned photograph or a problem."""
        shown = None if found is None else _result(found)
        attention = self._values["has_attention"] and (given is None or "attention" in given)
        return render(
            "serve.html", **self._values, given=given or {}, attention=attention, result=shown, problem=problem
        )


def _result(found: Captioned) -> dict[str, Any]:
    caption = found.caption
    attention = caption.attention
    return {
        "caption": caption,
        "total": sum(found.seconds.values()),
        "steps": [(STEPS[step], seconds) for step, seconds in found.seconds.items()],
        "preview": found.preview,
        "square": found.square,
        "is_small": found.preview.startswith("data:image/png"),
        "panels": [] if attention is None else list(panels(attention)),
        "id": f"square-{secrets.token_hex(4)}",  # a page shows several photographs
    }


def panels(attention: Attention) -> Iterator[Panel]:
    """Yield a panel for each word of a caption."""
    rows, columns = attention.grid
    width, height = SIDE / columns, SIDE / rows
    for word, weights, sentinel in zip(attention.words, attention.maps, attention.sentinel.tolist(), strict=True):
        shown = visibility(weights, sentinel).tolist()
        cells = [
            Cell(column * width, row * height, width, height, 1 - shown[row][column])
            for row in range(rows)
            for column in range(columns)
        ]
        yield Panel(word, cells, float(weights.max()), sentinel)
