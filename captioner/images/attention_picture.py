"""A picture of attention: for each word of a caption, the regions that the model attended to."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from captioner.arrays import Array
from captioner.errors import DataError
from captioner.images.fonts import Font, choose_font
from captioner.images.photo import read_photo, square

Picture: TypeAlias = NDArray[np.uint8] | Path | None
"""The pixels of an image, the path of a photograph, or None if neither is known."""
SIDE = 192
"""The side of a panel, in pixels: a multiple of 64, the side of generated scenes, and of 3, that of their grid."""
MIN_COLUMNS, COLUMNS = 4, 6
GAP, MARGIN = 18, 28
WORD, TITLE, SMALL = 22, 26, 15
LABEL, NUMBERS = 32, 46
"""The heights above and below a panel: the word, and its weights."""
PAPER, INK, GREY, FRAME, BAR = "#ffffff", "#1a1a1a", "#5a5a5a", "#c8c8c8", "#b35900"
FAINT = 0.14
"""The opacity of a region without weight: low, but its content can be recognized."""
NO_PICTURE = (90, 90, 90)
LEGEND = "Each panel shows the regions to which the model attends when it predicts the word; the others are faint."
SENTINEL = "The sentinel is the alternative to all regions. The weights of a word, including the sentinel's, sum to 1."


def open_picture(picture: Picture) -> Image.Image | None:
    """Open a picture; None if it is unknown, or a photograph that cannot be read."""
    if picture is None:
        return None
    if not isinstance(picture, Path):
        return Image.fromarray(picture)
    try:
        return read_photo(picture, SIDE)
    except DataError:  # it may have changed since it was encoded
        return None


def to_png(page: Image.Image) -> bytes:
    """Encode a picture as PNG."""
    buffer = io.BytesIO()
    page.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def draw(picture: Image.Image | None, caption: str, words: Sequence[str], maps: Array, sentinel: Array) -> Image.Image:
    """Draw one panel for the image and one for each word, with the weights as cells, without interpolation.

    A region is faint if the sentinel has most of the weight. The picture is cropped like a photograph for an encoder.
    Without a picture, there is no panel for the image, and the cells are grey.

    Shapes: maps (T, rows, columns), sentinel (T,).
    """
    image = Image.new("RGB", (SIDE, SIDE), NO_PICTURE) if picture is None else _enlarge(picture)
    labels = [*([] if picture is None else ["image"]), *words]
    lines = ceil(len(labels) / COLUMNS)
    columns = max(ceil(len(labels) / max(lines, 1)), MIN_COLUMNS)
    width = 2 * MARGIN + columns * SIDE + (columns - 1) * GAP
    header = [*_wrap(caption or "(no words)", TITLE, width - 2 * MARGIN)]
    legend = [line for text in (LEGEND, SENTINEL) for line in _wrap(text, SMALL, width - 2 * MARGIN)]
    top = MARGIN + len(header) * (TITLE + 8) + 4 + len(legend) * (SMALL + 5) + GAP
    height = LABEL + SIDE + NUMBERS
    page = Image.new("RGB", (width, top + lines * height + (lines - 1) * GAP + MARGIN), PAPER)
    pen = ImageDraw.Draw(page)
    y = MARGIN
    for text in header:
        _write(pen, (MARGIN, y), text, TITLE, INK, width - 2 * MARGIN)
        y += TITLE + 8
    y += 4
    for text in legend:
        _write(pen, (MARGIN, y), text, SMALL, GREY, width - 2 * MARGIN)
        y += SMALL + 5
    for panel, label in enumerate(labels):
        row, column = divmod(panel, columns)
        x, y = MARGIN + column * (SIDE + GAP), top + row * (height + GAP)
        word = panel - len(labels) + len(words)
        _write(pen, (x, y), label, WORD, GREY if word < 0 else INK, SIDE)
        if word < 0:
            page.paste(image, (x, y + LABEL))
        else:
            _draw_word(page, pen, (x, y + LABEL), image, maps[word], float(sentinel[word]))
        pen.rectangle((x - 1, y + LABEL - 1, x + SIDE, y + LABEL + SIDE), outline=FRAME)
    return page


def visibility(map_: Array, sentinel: float) -> Array:
    """Return the opacity of each region: relative to the strongest one, and low if the sentinel has most of the weight.

    Shapes: map_ (rows, columns) -> (rows, columns), from 0 to 1.
    """
    opacity: Array = FAINT + (1 - FAINT) * (1 - sentinel) * map_ / max(float(map_.max()), 1e-12)
    return opacity.clip(0, 1)


def _draw_word(
    page: Image.Image,
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int],
    image: Image.Image,
    map_: Array,
    sentinel: float,
) -> None:
    x, y = place
    largest = float(map_.max())
    page.paste(image, place, Image.fromarray(np.uint8(255 * _cells(visibility(map_, sentinel)))))
    rows, columns = map_.shape
    for row in _bounds(rows)[1:-1]:
        pen.line((x, y + row, x + SIDE - 1, y + row), FRAME)
    for column in _bounds(columns)[1:-1]:
        pen.line((x + column, y, x + column, y + SIDE - 1), FRAME)
    y += SIDE + 6
    _write(pen, (x, y), f"strongest region {largest:.2f}", SMALL, GREY, SIDE)
    y += SMALL + 5
    _write(pen, (x, y), f"sentinel {sentinel:.2f}", SMALL, GREY, SIDE)
    left = x + 100
    pen.rectangle((left, y + 3, x + SIDE - 1, y + SMALL - 1), outline=FRAME)
    if (length := round((SIDE - 101) * sentinel)) > 0:
        pen.rectangle((left, y + 3, left + length, y + SMALL - 1), fill=BAR)


def _enlarge(picture: Image.Image) -> Image.Image:
    """Scale a picture to a panel; a small one keeps its pixels."""
    if picture.width == picture.height and SIDE % picture.width == 0:
        return picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)
    return square(picture.convert("RGB"), SIDE)


def _bounds(cells: int) -> list[int]:
    return [round(SIDE * cell / cells) for cell in range(cells + 1)]


def _cells(grid: Array) -> Array:
    """Enlarge a grid to a panel, one rectangle per cell. Shapes: (rows, columns) -> (SIDE, SIDE)."""
    rows, columns = (np.diff(_bounds(count)) for count in grid.shape)
    enlarged: Array = grid.repeat(rows, axis=0).repeat(columns, axis=1)
    return enlarged


def _write(pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, colour: str, width: int) -> None:
    """Write a text in one line; a wide one is written smaller, and then shortened in the middle."""
    shown, font = _fitting(text, size, width)
    pen.text((place[0], place[1] + size), shown, colour, font, anchor="ls")


def _fitting(text: str, size: int, width: int) -> tuple[str, Font]:
    for smaller in range(size, min(size, SMALL - 3) - 1, -1):
        shown, font = choose_font(text, smaller)
        if font.getlength(shown) <= width:
            return shown, font

    def shortened(kept: int) -> str:
        return f"{shown[: kept - kept // 3]}...{shown[len(shown) - kept // 3 :]}"

    kept = bisect_right(range(len(shown)), width, key=lambda kept: ceil(font.getlength(shortened(kept)))) - 1
    return shortened(max(kept, 0)), font


def _wrap(text: str, size: int, width: int) -> Iterator[str]:
    """Break a text into lines between words, or inside a word that is wider than a line."""
    shown, font = choose_font(text, size)
    line = ""
    for word in shown.split():
        longer = f"{line} {word}" if line else word
        if font.getlength(longer) <= width:
            line = longer
            continue
        if line:
            yield line
        rest = word
        while font.getlength(rest) > width:
            part = rest
            end = max(1, bisect_right(range(len(part)), width, key=lambda end: ceil(font.getlength(part[:end]))) - 1)
            yield part[:end]
            rest = part[end:]
        line = rest
    yield line
