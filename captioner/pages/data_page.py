"""A page of images with their reference captions (`captioner data show --html`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from captioner.errors import DataError
from captioner.pages.picture import to_data_uri
from captioner.pages.template import is_page, render, write_page
from captioner.storage.files import check_output

SIDE = 640
"""The longest side of a photograph in pixels: twice that of its place on the page, for screens of high density."""
MISSING = "photograph not found; give its folder with --images"


class ImageEntry(NamedTuple):
    """An image, as pixels or the path of a photograph (None if missing), with its captions."""

    name: str
    picture: NDArray[np.uint8] | Path | None
    captions: Sequence[str]


def write(path: Path, entries: Iterable[ImageEntry], overwrite: bool = False) -> None:
    """Write a page with escaped text.

    Raises: UsageError if the file exists and `overwrite` is not set; CaptionerError if it cannot be written.
    """
    check_output(path, overwrite, "an HTML page", is_page)
    shown = [(entry, *_picture(entry)) for entry in entries]
    write_page(path, render("data.html", title="Images and captions", entries=shown))


def _picture(entry: ImageEntry) -> tuple[str | None, str]:
    """Return the data URI of a picture, or None and the reason why there is none."""
    if entry.picture is None:
        return None, MISSING
    try:
        return to_data_uri(entry.picture, SIDE), ""
    except DataError as problem:
        return None, str(problem)
