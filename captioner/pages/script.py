"""The scripts of pages: inline, and the only ones that the Content-Security-Policy of their page allows."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import NamedTuple


class Script(NamedTuple):
    """Scripts of this package, as the content of an element, and its source expression for `script-src`."""

    text: str
    source: str


def load_script(*names: str) -> Script:
    """Load scripts from the folder of templates, as one."""
    folder = resources.files("captioner.pages").joinpath("templates")
    text = "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(text, f"'sha256-{digest}'")
