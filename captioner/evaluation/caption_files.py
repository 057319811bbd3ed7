"""Read and write caption files: COCO's results format, and the JSON lines of `captioner sample --json`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from captioner.data.readers.records import parse_json
from captioner.errors import DataError
from captioner.evaluation.image_ids import Id, image_id
from captioner.printable import quoted
from captioner.storage.atomic import write_file
from captioner.storage.files import check_output, read_bytes

LIMIT = 1 << 30


def write_results(path: Path, images: Sequence[str], captions: Sequence[str], overwrite: bool = False) -> None:
    """Write `[{"image_id", "caption"}]`, one entry per line.

    Raises: UsageError when the file exists and `overwrite` is not set; DataError when two images have the same id;
    CaptionerError when the file cannot be written.
    """
    check_results_output(path, overwrite)
    entries: dict[Id, str] = {}
    for image, caption in zip(images, captions, strict=True):
        if image_id(image) in entries:
            raise DataError(f"{path}: expected unique image ids, got {image_id(image)!r:.80} twice")
        entries[image_id(image)] = json.dumps({"image_id": image_id(image), "caption": caption})
    write_file(path, ("[" + ",\n".join(entries.values()) + "]\n").encode())


def check_results_output(path: Path, overwrite: bool) -> None:
    """Raises: UsageError when results cannot be written there, or the file to replace contains something else."""
    check_output(path, overwrite, "caption results", _may_be_results)


def _may_be_results(path: str | os.PathLike[str]) -> bool:
    try:
        return read_bytes(path, LIMIT)[:1] in (b"", b"[")
    except DataError:
        return False


def read_caption_file(path: Path) -> dict[Id, str]:
    """Read the caption of each image from a JSON list or from JSON lines, which the content distinguishes.

    An entry has the keys `image_id` (a number or a name) or `image`, and `caption`; other keys are ignored.

    Raises: DataError when the file contains anything else, or an image twice.
    """
    captions: dict[Id, str] = {}
    for where, entry in _entries(path):
        match entry:
            case {"image_id": int() | str() as image, "caption": str() as caption} if not isinstance(image, bool):
                pass
            case {"image": str() as image, "caption": str() as caption}:
                pass
            case _:
                raise DataError(
                    f"{where}: expected an object with image_id (or image) and caption, got {quoted(entry)}"
                )
        if image in captions:
            raise DataError(f"{where}: duplicate image {image!r:.80}; expected one caption per image")
        if not is_encodable(caption):
            raise DataError(f"{where}: caption: expected UTF-8 text, got {caption!r:.80}")
        captions[image] = caption
    return captions


def is_encodable(caption: str) -> bool:
    """Return False for a lone surrogate, which JSON allows but UTF-8 cannot encode."""
    try:
        caption.encode()
    except UnicodeEncodeError:
        return False
    return True


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the location and the value of each entry."""
    text = read_text_file(path)
    if text.lstrip()[:1] != "{":
        content = parse(text, str(path))
        if not isinstance(content, list):
            raise DataError(
                f'{path}: expected a list of {{"image_id", "caption"}}, or JSON lines as `captioner sample --json` '
                f"writes them, got {quoted(content)}"
            )
        yield from ((f"{path}: [{number}]", entry) for number, entry in enumerate(content))
        return
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if line.strip():
            yield f"{path}:{number}", parse(line, f"{path}:{number}")


def read_text_file(path: Path) -> str:
    """Read a UTF-8 file. Raises: DataError."""
    try:
        return read_bytes(path, LIMIT, expected="a caption file").decode("utf-8-sig")
    except ValueError as error:
        raise DataError(f"{path}: expected JSON, got something else: {error}") from error


def parse(text: str, where: str) -> Any:
    """Parse JSON. Raises: DataError."""
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected JSON, got something else: {error}") from error
