"""Group captions by image and images by split; each image is in exactly one split, with all its captions."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import PurePath

import numpy as np

from captioner.data.caption_formats import CaptionRecord, Issue
from captioner.errors import DataError


@dataclass
class ImageRecord:
    """An image with its captions, its split (if known) and its row in a feature matrix."""

    image: str
    split: str | None
    row: int
    captions: list[CaptionRecord] = field(default_factory=list)


def group_by_image(captions: Iterable[CaptionRecord]) -> tuple[list[ImageRecord], list[Issue]]:
    """Group captions by image, in order of first occurrence; images without a row are numbered in that order.

    A caption that assigns its image to a second split is an issue.
    """
    images: dict[str, ImageRecord] = {}
    issues = []
    for caption in captions:
        row = len(images) if caption.row is None else caption.row
        record = images.setdefault(caption.image, ImageRecord(caption.image, caption.split, row))
        if caption.split == record.split:
            record.captions.append(caption)
        else:
            splits = f"expected split {record.split or 'none'} as before, got {caption.split or 'none'}"
            issues.append(Issue(caption.line, f"{caption.image:.80}: {splits}; skipped"))
    return list(images.values()), issues


def split_randomly(
    images: Sequence[ImageRecord], fractions: Mapping[str, float], seed: int, usable: Container[str] | None = None
) -> list[ImageRecord]:
    """Split images at random by fractions, with the rest in `train`; images that are not `usable` are dropped.

    The result depends on the seed and on the names of all images, not on their order. A split with a positive fraction
    gets at least one image.

    Raises: DataError when no image would remain for train.
    """
    ordered = sorted(record.image for record in images)
    order = (ordered[i] for i in np.random.default_rng(seed).permutation(len(ordered)))
    names = [name for name in order if usable is None or name in usable]
    counts = {split: max(1, round(fraction * len(names))) for split, fraction in fractions.items() if fraction}
    if sum(counts.values()) >= len(names):
        requested = " and ".join(f"{count:,} for {split}" for split, count in counts.items())
        raise DataError(
            f"expected images for train in addition to {requested}, got {len(names):,} in total; "
            "add images, or lower the fractions"
        )
    drawn = [split for split, count in counts.items() for _ in range(count)]
    assigned = dict(zip_longest(names, drawn, fillvalue="train"))
    return [dataclasses.replace(record, split=assigned[record.image]) for record in images if record.image in assigned]


def split_by_lists(
    images: Sequence[ImageRecord], lists: Mapping[str, Sequence[str]]
) -> tuple[list[ImageRecord], list[Issue]]:
    """Assign images to splits by lists of names; unlisted images keep their split, if any.

    Names match as full paths or without folders. A name in two lists, or matching no image or several, is an issue.
    """
    by_path = {record.image: [record] for record in images}
    by_name: dict[str, list[ImageRecord]] = {}
    for record in images:
        by_name.setdefault(PurePath(record.image).name, []).append(record)
    assigned: dict[str, str] = {}
    issues = []
    for split, names in lists.items():
        for number, name in enumerate(names, 1):
            line = f"list of {split}, image {number}"
            matches = by_path.get(name) or by_name.get(PurePath(name).name, [])
            if not matches:
                issues.append(Issue(line, f"{name:.80}: no image of this name in the caption files"))
            elif len(matches) > 1:
                first, second = matches[0].image, matches[1].image
                issues.append(Issue(line, f"{name:.80}: ambiguous name: matches {first:.80} or {second:.80}"))
            elif assigned.setdefault(matches[0].image, split) != split:
                issues.append(Issue(line, f"{name:.80}: is also in the list of {assigned[matches[0].image]}"))
    return [dataclasses.replace(record, split=assigned.get(record.image, record.split)) for record in images], issues


def group_by_split(images: Iterable[ImageRecord]) -> dict[str, list[ImageRecord]]:
    """Return the images of each split: train, val, test, then others by name; images without a split are dropped."""
    splits: dict[str, list[ImageRecord]] = {}
    for record in images:
        if record.split is not None:
            splits.setdefault(record.split, []).append(record)
    known = [name for name in ("train", "val", "test") if name in splits]
    return {name: splits[name] for name in (*known, *sorted(splits.keys() - set(known)))}
