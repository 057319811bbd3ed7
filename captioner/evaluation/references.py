"""Read the reference captions of a file as an evaluation set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath

from captioner.data.readers import CaptionRecord, Issue, read_captions
from captioner.data.readers.records import image_name
from captioner.data.splits import group_by_image
from captioner.errors import DataError
from captioner.evaluation.caption_files import parse, read_text_file
from captioner.evaluation.scoring import EvaluationSet


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


def _raise_issues(records: Iterator[CaptionRecord | Issue]) -> Iterator[CaptionRecord]:
    for record in records:
        if isinstance(record, Issue):
            raise DataError(str(record))
        yield record


def _numbers(path: Path) -> dict[str, int]:
    """Return the numeric image ids of a COCO or Karpathy file, by file name without its folder."""
    try:
        content = parse(read_text_file(path), str(path))
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
