"""The page: the form, and a captioned photograph or the problem of a request."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from captioner.images.photo import HEIC_SUFFIXES
from captioner.report.pictures import word_maps
from captioner.report.template import load_script, render
from captioner.serve.decoding_options import DecodingOptions
from captioner.serve.limits import Limits
from captioner.serve.service import CaptionResult

SCRIPT = load_script("serve.js")
POLICY = (
    f"default-src 'none'; script-src {SCRIPT.source}; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'"
)
"""The page runs its own script alone, and loads nothing but what the server returns to it."""
STEPS = {"queue": "waiting", "photograph": "photograph", "encoder": "encoder", "caption": "caption"}


class UploadPage:
    """Renders the page of a model."""

    def __init__(self, name: str, encoder: str, words: int, options: DecodingOptions, limits: Limits) -> None:
        self._values: dict[str, Any] = {
            "title": "Caption photographs",
            "policy": POLICY,
            "script": SCRIPT.text,
            "model": name,
            "encoder": encoder,
            "words": words,
            "limits": limits,
            "fields": options.fields(),
            "has_attention": options.has_attention,
            "accept": ",".join(("image/*", *sorted(HEIC_SUFFIXES))),
        }

    def render(
        self, given: Mapping[str, str] | None = None, found: CaptionResult | None = None, problem: str = ""
    ) -> bytes:
        """Render the page with the options that were `given`, and the captioned photograph or a problem."""
        shown = None if found is None else _result(found)
        attention = self._values["has_attention"] and (given is None or "attention" in given)
        return render(
            "serve.html", **self._values, given=given or {}, attention=attention, result=shown, problem=problem
        )


def _result(found: CaptionResult) -> dict[str, Any]:
    caption = found.caption
    attention = caption.attention
    return {
        "caption": caption,
        "total": sum(found.seconds.values()),
        "steps": [(STEPS[step], seconds) for step, seconds in found.seconds.items()],
        "preview": found.preview,
        "square": found.square,
        "is_small": found.preview.startswith("data:image/png"),
        "attention": None if attention is None else word_maps(attention.words, attention.maps, attention.sentinel),
        "grid": None if attention is None else attention.grid,
        "id": f"square-{secrets.token_hex(4)}",  # a page shows several photographs
    }
