"""Pages of images: of a data set (`data show --html`), and of captions with attention (`sample --attention`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from captioner.data.corpus import Corpus
from captioner.errors import DataError
from captioner.inference.caption import Caption
from captioner.preparation.inspect_data import Example
from captioner.report.gallery import SIDE, Gallery, GalleryEntry, gallery_entry
from captioner.report.pictures import Picture, embed, embed_or_none, pictures_of_split
from captioner.report.template import is_page, load_script, render
from captioner.storage.atomic import write_file
from captioner.storage.files import check_output

LARGE_SIDE = 640
"""The longest side of a photograph of a data set in pixels: twice that of its place, for screens of high density."""
MISSING = "photograph not found; give its folder with --images"
MAX_CAPTIONS = 1000
"""Captions on a page with attention, each of which takes about 30 kB."""


class ImageEntry(NamedTuple):
    """An image with its captions."""

    name: str
    picture: Picture
    captions: Sequence[str]


def write_entries(path: Path, entries: Iterable[ImageEntry], overwrite: bool = False) -> None:
    """Write a page of images and captions.

    Raises: UsageError if the file exists and `overwrite` is not set; CaptionerError if it cannot be written.
    """
    check_output(path, overwrite, "an HTML page", is_page)
    shown = []
    for entry in entries:
        uri, problem = None, MISSING
        if entry.picture is not None:
            try:
                uri, problem = embed(entry.picture, LARGE_SIDE).uri, ""
            except DataError as error:
                problem = str(error)
        shown.append((entry, uri, problem))
    write_file(path, render("data.html", title="Images and captions", entries=shown))


def write_examples(
    path: Path, corpus: Corpus, name: str, shown: Sequence[Example], images: Path | None, overwrite: bool
) -> int:
    """Write examples of a split as a page; return the number of missing images.

    Raises: as `write_entries` and `pictures_of_split`.
    """
    find = pictures_of_split(corpus, name, images)
    entries = [
        ImageEntry(example.image, find(example.row), [" ".join(reference.split()) for reference in example.references])
        for example in shown
    ]
    write_entries(path, entries, overwrite)
    return sum(entry.picture is None for entry in entries)


class AttentionPage:
    """The first `MAX_CAPTIONS` captions with their attention, for one page. Set `find` to show their pictures.

    Raises: UsageError if the file exists and `overwrite` is not set.
    """

    def __init__(self, path: Path, overwrite: bool = False) -> None:
        check_output(path, overwrite, "an HTML page", is_page)
        self.path, self.captions = path, 0
        self.find: Callable[[Caption], Picture] = lambda caption: None
        self._entries: list[GalleryEntry] = []

    @property
    def gallery(self) -> Gallery:
        """The captions on the page."""
        return Gallery("", self._entries, self.captions)

    def write(self, caption: Caption) -> None:
        """Add a caption, with its picture as it is now."""
        if self.captions < MAX_CAPTIONS:
            picture = embed_or_none(self.find(caption), SIDE, True)
            self._entries.append(gallery_entry(self.captions, caption, picture))
        self.captions += 1

    def finish(self) -> tuple[str, str]:
        """Write the page; return that none was kept, and what was written.

        Raises: CaptionerError if it cannot be written.
        """
        script = load_script("report.js", "attention.js")
        page = render("attention_page.html", title="Attention maps", gallery=self.gallery, script=script)
        write_file(self.path, page)
        shown = len(self._entries)
        number = f"{shown:,}" if shown == self.captions else f"the first {shown:,} of {self.captions:,}"
        return "", f"{self.path}: attention maps of {number} image{'s' * (self.captions != 1)} written"


def pictures_by_name(corpus: Corpus, name: str, images: Path | None) -> Callable[[Caption], Picture]:
    """Return a function that finds the picture of a caption of a split.

    Raises: as `pictures_of_split`.
    """
    find = pictures_of_split(corpus, name, images)
    rows = {image: row for row, image in enumerate(corpus.split(name).image_ids)}
    return lambda caption: find(rows[caption.image])
