"""Render the HTML templates of this package, with escaped text."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from captioner.errors import CaptionerError
from captioner.storage.atomic import remove_temporary_files, write_atomically

DOCTYPE = b"<!doctype html>"


@cache
def _environment() -> jinja2.Environment:
    # autoescape=True rather than select_autoescape, which depends on the name of a template
    return jinja2.Environment(
        loader=jinja2.PackageLoader("captioner.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: Any) -> bytes:
    """Render a template with values, which are escaped; surrogates of names that are not UTF-8 become `?`."""
    return _environment().get_template(template).render(values).encode("utf-8", "replace")


def is_page(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is an HTML page, or empty: what `--overwrite` may replace."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        start = file.read(len(DOCTYPE))
    return not start or start.lower() == DOCTYPE


def write_page(path: Path, page: bytes) -> None:
    """Write a page, or nothing.

    Raises: CaptionerError if it cannot be written.
    """
    remove_temporary_files(path)
    try:
        write_atomically(path, (page,))
    except OSError as error:
        raise CaptionerError(f"{path}: cannot be written: {error.strerror}") from error
