"""Caption files and reference files: read, and match the captions to the images.

Caption files have COCO's results format, or are JSON lines or a table, as `caption` and `sample` write them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from captioner.data.caption_readers import (
    CaptionRecord,
    Columns,
    Issue,
    parse_json,
    read_captions,
    table_rows,
)
from captioner.data.image_names import ImageNames, image_name
from captioner.data.table_cells import unescape_cell
from captioner.errors import DataError, quoted
from captioner.evaluation.scoring import EvaluationSet
from captioner.files.user_files import enough_memory, read_text
from captioner.preparation.image_records import group_by_image

Id: TypeAlias = int | str
Numbers: TypeAlias = Mapping[str, int | None]
"""The numbers of images by their names: COCO's, or else those in the names."""
LIMIT = 1 << 30
WRITTEN = ", as `captioner sample --json` writes it, or a table with the columns image and caption"
_HEADER = re.compile(r"(?=.*\bimage\b).*\bcaption\b", re.IGNORECASE)
"""The first line of a table of captions."""
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_SURROGATE = re.compile("[\ud800-\udfff]")
"""A lone surrogate, which JSON allows but UTF-8 cannot encode."""
_IN_NAME = re.compile(r"(?:^|.*[^0-9])([0-9]{12})")


def read_caption_file(path: Path) -> dict[Id, str]:
    """Read the caption of each image from a JSON list, JSON lines or a table, which the content distinguishes.

    An entry has the keys `image_id` (a number or a name) or `image`, and `caption`; others are ignored.

    Raises: DataError when the file contains anything else, or an image twice.
    """
    captions: dict[Id, str] = {}
    with enough_memory(path):
        for where, entry in _values(path):
            match entry:
                case {"image_id": int() | str() as image, "caption": str() as text} if not isinstance(image, bool):
                    pass
                case {"image": str() as image, "caption": str() as text}:
                    pass
                case _:
                    raise DataError(
                        f"{where}: expected an object with image_id (or image) and caption, got {quoted(entry)}"
                    )
            if _SURROGATE.search(text):
                raise DataError(f"{where}: caption: expected UTF-8 text, got {text!r:.80}")
            if image in captions:
                raise DataError(f"{where}: duplicate image {image!r:.80}; expected one caption per image")
            captions[image] = text
    return captions


def _values(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the location and the value of each entry."""
    text = read_text(path, "a caption file", LIMIT)
    start = text.lstrip()
    if start[:1] not in ("{", "[") and _HEADER.match(start):
        for where, cells in table_rows(str(path), text, Columns()):
            if isinstance(cells, str):
                raise DataError(f"{where}: {cells}")
            yield where, {name: unescape_cell(cell) for name, cell in cells.items()}
        return
    if start[:1] != "{":
        content = _parse(text, str(path))
        if not isinstance(content, list):
            raise DataError(
                f'{path}: expected a list of {{"image_id", "caption"}}, or JSON lines as `captioner sample --json` '
                f"writes them, got {quoted(content)}"
            )
        yield from ((f"{path}: [{number}]", entry) for number, entry in enumerate(content))
        return
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if line.strip():
            yield f"{path}:{number}", _parse(line, f"{path}:{number}")


def _parse(text: str, where: str) -> Any:
    """Parse JSON. Raises: DataError."""
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected JSON{WRITTEN}, got other text: {error}") from error


def read_references(path: Path, split: str | None) -> tuple[EvaluationSet, Numbers]:
    """Read the reference captions of a file, or of one split of it, and the numbers of its images.

    Raises: DataError when the file cannot be read, contains an error, or has no such split.
    """
    with enough_memory(path):
        records = list(read_captions(path))
        images, conflicts = group_by_image(record for record in records if isinstance(record, CaptionRecord))
        for issue in (*(record for record in records if isinstance(record, Issue) and not record.kind), *conflicts):
            raise DataError(str(issue))
        splits = {image.split for image in images}
        chosen = [image for image in images if split is None or image.split == split]
        if not chosen:
            got = ", ".join(sorted(name or "images without a split" for name in splits)) or "no captions"
            raise DataError(f"{path}: expected captions of {f'split {split}' if split else 'images'}, got {got}")
        references = [[record.text for record in image.captions] for image in chosen]
        ids = {image.image: image.captions[0].coco_id for image in chosen}
        numbers = {image: number_in_name(image) if number is None else number for image, number in ids.items()}
        return EvaluationSet([*numbers], references, normalized=False), numbers


def number_in_name(image: str) -> int | None:
    """Return the number that the name of an image is, or its last 12 digits, as in names of COCO."""
    if digits := _IN_NAME.fullmatch(PurePath(image).stem):
        return int(digits[1])
    return int(image) if _NUMBER.fullmatch(image) else None


def match_images(captions: Mapping[Id, str], where: Path, images: Sequence[str], numbers: Numbers) -> list[str]:
    """Return the captions in the order of the images, which are identified as by `_find_images`.

    Raises: DataError when an image has no caption or two, or a caption matches no image.
    """
    by_place: dict[int, str] = {}
    for name, place in _find_images(captions, where, images, numbers):
        if place is None:
            raise DataError(
                f"{where}: image {name!r:.80}: expected one of the {len(images):,} images of the references, "
                f"such as {images[0]!r:.80}; try --split with the split of the captions, or leave it out"
            )
        by_place[place] = captions[name]
    missing = [image for place, image in enumerate(images) if place not in by_place]
    if missing:
        raise DataError(
            f"{where}: expected one caption for each of {len(images):,} images, {len(missing):,} missing, "
            f"such as {missing[0]:.80}; add the captions, or select a split with --split"
        )
    return [by_place[place] for place in range(len(images))]


def _find_images(
    names: Collection[Id], where: Path, images: Sequence[str], numbers: Numbers
) -> Iterator[tuple[Id, int | None]]:
    """Yield each name or number with the place of its image among `images`, or None if it is that of none.

    Raises: DataError for one that may be that of two images, and for two that match one: they may be those of two
    photographs.
    """
    first: dict[int, Id] = {}
    known, places = ImageNames(images), dict[int, list[int]]()
    for place, image in enumerate(images):
        if (number := numbers.get(image)) is not None:
            places.setdefault(number, []).append(place)
    for name in names:
        found = known.places(image_name(name)) if isinstance(name, str) else places.get(name, ())
        if len(found) > 1:
            both = f"{images[found[0]]:.80} and {images[found[1]]:.80}"
            raise DataError(f"{where}: {quoted(name)} matches {both}; name the images with their folders")
        if found and first.setdefault(found[0], name) != name:
            raise DataError(f"{where}: {quoted(first[found[0]])} and {quoted(name)} both match {images[found[0]]:.80}")
        yield name, found[0] if found else None
