"""A self-contained HTML page of images with captions."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from captioner.errors import CaptionerError, DataError
from captioner.images.photo import read_photo
from captioner.storage.atomic import remove_temporary_files, write_atomically
from captioner.storage.files import check_output

SIDE = 320
STYLE = (
    "body{font:16px/1.4 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "body{color:#222;background:#fff}"
    "figure{display:flex;gap:1.5rem;margin:0 0 2rem;align-items:flex-start;flex-wrap:wrap}"
    "img,.none{width:20rem;max-width:100%;border-radius:4px}.none{background:#eee;padding:1rem;box-sizing:border-box}"
    "figcaption{flex:1;min-width:16rem}h2{font-size:1rem;margin:0;overflow-wrap:anywhere}p{margin:.3rem 0}"
)


class Entry(NamedTuple):
    """An image, as pixels or the path of a photograph (None if missing), with its captions."""

    name: str
    picture: NDArray[np.uint8] | Path | None
    captions: Sequence[str]


def write(path: Path, entries: Iterable[Entry], overwrite: bool = False) -> None:
    """Write a page with escaped text.

    Raises: UsageError if the file exists and `overwrite` is not set; CaptionerError if it cannot be written.
    """
    check_output(path, overwrite)
    figures = "\n".join(map(_figure, entries))
    page = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Pictures and captions</title>\n<style>{STYLE}</style>\n<main>\n{figures}\n</main>\n</html>\n"
    )
    remove_temporary_files(path)
    try:
        write_atomically(path, (page.encode("utf-8", "replace"),))
    except OSError as error:
        raise CaptionerError(f"{path}: cannot be written: {error.strerror}") from error


def _figure(entry: Entry) -> str:
    captions = "".join(f"<p>{escape(caption)}</p>" for caption in entry.captions)
    return f"<figure>{_image(entry)}<figcaption><h2>{escape(entry.name)}</h2>{captions}</figcaption></figure>"


def _image(entry: Entry) -> str:
    try:
        if entry.picture is None:
            raise DataError("photograph not found; give its folder with --images")
        if isinstance(entry.picture, Path):
            photo = read_photo(entry.picture, SIDE)
            photo.thumbnail((2 * SIDE, 2 * SIDE))
        else:
            photo = Image.fromarray(entry.picture)
        kind = "jpeg" if isinstance(entry.picture, Path) else "png"
    except DataError as problem:
        return f'<div class="none">{escape(str(problem))}</div>'
    buffer = io.BytesIO()
    photo.save(buffer, kind)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(entry.captions[0] if entry.captions else "")}" src="data:image/{kind};base64,{data}">'
