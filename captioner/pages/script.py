"""The scripts of pages: inline, and the only ones that the Content-Security-Policy of their page allows."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import NamedTuple


class Script(NamedTuple):
    """A script of this package, as the content of an element, and its source expression for `script-src`."""

    text: str
    source: str


def load_script(name: str) -> Script:
    """Load a script from the folder of templates."""
    text = resources.files("captioner.pages").joinpath("templates", name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(text, f"'sha256-{digest}'")
