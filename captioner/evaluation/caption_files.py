"""Read and write captions in COCO's results format, and match them to the images of a reference file."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from captioner.data.readers import CaptionRecord, Issue, read_captions
from captioner.data.readers.records import image_name, parse_json
from captioner.data.splits import group_by_image
from captioner.errors import CaptionerError, DataError
from captioner.evaluation.scoring import EvaluationSet
from captioner.printable import quoted
from captioner.storage.atomic import remove_temporary_files, write_atomically
from captioner.storage.files import check_output, read_bytes

LIMIT = 1 << 30
Id: TypeAlias = int | str
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_IN_NAME = re.compile(r"(?:^|.*[^0-9])([0-9]{12})")


def is_encodable(caption: str) -> bool:
    """Return False for a lone surrogate, which JSON allows but UTF-8 cannot encode."""
    try:
        caption.encode()
    except UnicodeEncodeError:
        return False
    return True


def image_id(image: str) -> Id:
    """Return the COCO id of an image if its name is a number or ends in 12 digits, else the name."""
    stem = PurePath(image).stem
    found = _IN_NAME.fullmatch(stem)
    if found:
        return int(found[1])
    return int(image) if _NUMBER.fullmatch(image) else image


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
    remove_temporary_files(path)
    try:
        write_atomically(path, (("[" + ",\n".join(entries.values()) + "]\n").encode(),))
    except OSError as error:
        raise CaptionerError(f"{path}: cannot write: {error.strerror}") from error


def check_results_output(path: Path, overwrite: bool) -> None:
    """Raises: UsageError when results cannot be written there, or the file to replace contains something else."""
    check_output(path, overwrite, "caption results", _may_be_results)


def _may_be_results(path: str | os.PathLike[str]) -> bool:
    try:
        return read_bytes(path, LIMIT)[:1] in (b"", b"[")
    except DataError:
        return False


def read_results(path: Path) -> dict[Id, str]:
    """Read a results file: the caption of each image id.

    Raises: DataError when the file is not a list of entries, or contains an id twice.
    """
    content = _json(path)
    if not isinstance(content, list):
        raise DataError(f'{path}: expected a list of {{"image_id", "caption"}}, got {quoted(content)}')
    captions: dict[Id, str] = {}
    for number, entry in enumerate(content):
        match entry:
            case {"image_id": int() | str() as name, "caption": str() as caption} if not isinstance(name, bool):
                if name in captions:
                    raise DataError(
                        f"{path}: [{number}]: duplicate image_id {name!r:.80}; expected one caption per image"
                    )
                if not is_encodable(caption):
                    raise DataError(f"{path}: [{number}]: caption: expected UTF-8 text, got {caption!r:.80}")
                captions[name] = caption
            case _:
                raise DataError(
                    f"{path}: [{number}]: expected an object with image_id and caption, got {quoted(entry)}"
                )
    return captions


def read_references(path: Path, split: str | None) -> tuple[EvaluationSet, dict[str, int]]:
    """Read the reference captions of a file, or of one split of it, and the numeric image ids if the file has them.

    Raises: DataError when the file cannot be read, contains an error, or has no such split.
    """
    images, issues = group_by_image(_raise_issues(read_captions(path)))
    for issue in issues:
        raise DataError(str(issue))
    splits = {image.split for image in images}
    chosen = [image for image in images if split is None or image.split == split]
    if not chosen:
        got = ", ".join(sorted(name or "images without a split" for name in splits)) or "no captions"
        raise DataError(f"{path}: expected captions of {f'split {split}' if split else 'images'}, got {got}")
    references = [[record.text for record in image.captions] for image in chosen]
    return EvaluationSet([image.image for image in chosen], references), _numbers(path)


def match(results: dict[Id, str], where: Path, images: Sequence[str], numbers: dict[str, int]) -> list[str]:
    """Return the captions in the order of the images, matched by number, name, or name without its folder.

    Raises: DataError when an image has no caption or two, or a caption matches no image.
    """
    places = _places(images, numbers)
    captions: dict[int, str] = {}
    for name, caption in results.items():
        place = places.get(image_name(name) if isinstance(name, str) else name)
        if place is None:
            raise DataError(
                f"{where}: image_id {name!r:.80}: expected one of the {len(images):,} images of the references, "
                f"such as {image_id(images[0])!r:.80}; try --split with the split of the captions, or leave it out"
            )
        if place in captions:
            raise DataError(f"{where}: image_id {name!r:.80}: image {images[place]:.80} has two captions; expected one")
        captions[place] = caption
    missing = [image for place, image in enumerate(images) if place not in captions]
    if missing:
        raise DataError(
            f"{where}: expected one caption for each of {len(images):,} images, {len(missing):,} missing, "
            f"such as {missing[0]:.80}; add the captions, or select a split with --split"
        )
    return [captions[place] for place in range(len(images))]


def _places(images: Sequence[str], numbers: dict[str, int]) -> dict[Id, int]:
    """Map every unambiguous name or number of an image to its place."""
    places: dict[Id, int] = {}
    bare = [PurePath(image).name for image in images]
    kinds: tuple[Sequence[Id], ...] = (
        [numbers.get(name, image) for name, image in zip(bare, images, strict=True)],
        images,
        bare,
        list(map(image_id, images)),
    )
    for names in kinds:
        counts = Counter(names)
        for place, name in enumerate(names):
            if counts[name] == 1:
                places.setdefault(name, place)
    return places


def _raise_issues(records: Iterator[CaptionRecord | Issue]) -> Iterator[CaptionRecord]:
    for record in records:
        if isinstance(record, Issue):
            raise DataError(str(record))
        yield record


def _numbers(path: Path) -> dict[str, int]:
    """Return the numeric image ids of a COCO or Karpathy file, by file name without its folder."""
    try:
        content = _json(path)
    except DataError:  # a table of captions, which has no numeric ids
        return {}
    numbers = {}
    listed = content.get("images") if isinstance(content, dict) else None
    for image in listed if isinstance(listed, list) else ():
        if not isinstance(image, dict):
            continue
        name = image.get("file_name", image.get("filename"))
        number = image.get("id", image.get("cocoid", image.get("imgid")))
        if type(number) is int and isinstance(name, str):
            numbers[PurePath(image_name(name)).name] = number
    return numbers


def _json(path: Path) -> Any:
    try:
        return parse_json(read_bytes(path, LIMIT).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON, got something else: {error}") from error
