"""Fonts for text in pictures: that of Pillow, and installed fonts for characters that it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from PIL import ImageFont

from captioner.printable import printable

Font = ImageFont.FreeTypeFont
INSTALLED = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "Arial Unicode.ttf",
    "Arial.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "PingFang.ttc",
    "AppleSDGothicNeo.ttc",
    "msyh.ttc",
    "malgun.ttf",
)
"""Common fonts of Linux, macOS and Windows, which Pillow finds by name; Latin, Greek and Cyrillic first, then CJK."""
UNASSIGNED = "\uffff"
"""A character that no font has."""


def choose_font(text: str, size: int) -> tuple[str, Font]:
    """Choose the font that has the most characters of a text, and return the text to draw with it.

    Of equal ones, it is the first. Characters that the font lacks are escaped.
    """
    shown = printable(text)
    lacking: list[str] = []
    for font in _fonts(size):
        lacks = [character for character in sorted(set(shown)) if not _has(font, character)]
        if not lacks:
            return shown, font
        if not lacking or len(lacks) < len(lacking):
            lacking, best = lacks, font
    escapes = {ord(character): character.encode("ascii", "backslashreplace").decode() for character in lacking}
    return shown.translate(escapes), best


def _fonts(size: int) -> Iterator[Font]:
    """Yield the installed fonts; an uncommon character opens further ones."""
    yield _default(size)
    for name in INSTALLED:
        if (font := _open(name, size)) is not None:
            yield font


@cache
def _default(size: int) -> Font:
    font = ImageFont.load_default(size)
    assert isinstance(font, Font)  # a bitmap font only without a size
    return font


@cache
def _open(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@cache
def _has(font: Font, character: str) -> bool:
    return not character.strip() or _glyph(font, character) != _glyph(font, UNASSIGNED)


def _glyph(font: Font, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)
