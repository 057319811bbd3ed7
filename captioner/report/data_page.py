"""A page of images with their reference captions (`captioner data show --html`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from captioner.data.corpus import Corpus
from captioner.errors import DataError
from captioner.inference.attention_files import pictures_of_split
from captioner.preparation.inspect_data import Example
from captioner.report.embedded_picture import to_data_uri
from captioner.report.template import is_page, render, write_page
from captioner.storage.files import check_output

SIDE = 640
"""The longest side of a photograph in pixels: twice that of its place on the page, for screens of high density."""
MISSING = "photograph not found; give its folder with --images"


class ImageEntry(NamedTuple):
    """An image, as pixels or the path of a photograph (None if missing), with its captions."""

    name: str
    picture: NDArray[np.uint8] | Path | None
    captions: Sequence[str]


def write_entries(path: Path, entries: Iterable[ImageEntry], overwrite: bool = False) -> None:
    """Write a page with escaped text.

    Raises: UsageError if the file exists and `overwrite` is not set; CaptionerError if it cannot be written.
    """
    check_output(path, overwrite, "an HTML page", is_page)
    shown = [(entry, *_picture(entry)) for entry in entries]
    write_page(path, render("data.html", title="Images and captions", entries=shown))


def write_examples(
    path: Path, corpus: Corpus, name: str, shown: Sequence[Example], images: Path | None, overwrite: bool
) -> int:
    """Write examples of a split as a page; return the number of missing images.

    Photographs are read only from the folder `images`: a data set may be untrusted and the page may be shared, so
    neither the folder that the data set names nor a path outside `images` is read.

    Raises: as `write_entries`; UsageError if there is no such folder.
    """
    find = pictures_of_split(corpus, name, images)
    entries = [ImageEntry(example.image, find(example.row), example.references) for example in shown]
    write_entries(path, entries, overwrite)
    return sum(entry.picture is None for entry in entries)


def _picture(entry: ImageEntry) -> tuple[str | None, str]:
    """Return the data URI of a picture, or None and the reason why there is none."""
    if entry.picture is None:
        return None, MISSING
    try:
        return to_data_uri(entry.picture, SIDE), ""
    except DataError as problem:
        return None, str(problem)
