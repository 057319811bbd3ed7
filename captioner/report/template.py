"""Render the HTML templates of this package, with escaped text and inline scripts."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import jinja2

DOCTYPE = b"<!doctype html>"
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters other than tabs and line feeds, bidirectional controls, and surrogates."""


@cache
def _environment() -> jinja2.Environment:
    # autoescape=True rather than select_autoescape, which depends on the name of a template
    return jinja2.Environment(
        loader=jinja2.PackageLoader("captioner.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: Any) -> bytes:
    """Render a template with values: markup, control characters and bidirectional controls are escaped."""
    page = _environment().get_template(template).render(values)
    return UNSAFE.sub(lambda match: repr(match[0])[1:-1], page).encode()


class Script(NamedTuple):
    """A script as the content of an inline element, and its source expression for `script-src`: no other may run."""

    text: str
    source: str


def load_script(*names: str) -> Script:
    """Load scripts from the folder of templates as one."""
    folder = resources.files("captioner.report").joinpath("templates")
    text = "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(text, f"'sha256-{digest}'")


def is_page(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is an HTML page, or empty: what `--overwrite` may replace."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        start = file.read(len(DOCTYPE))
    return not start or start.lower() == DOCTYPE
