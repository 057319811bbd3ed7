"""The splits of the images of a data set: by lists of names, or at random."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np

from captioner.config.options import Prepare
from captioner.data.caption_readers import CaptionRecord, Issue
from captioner.data.image_names import ImageNames
from captioner.errors import DataError


@dataclass
class ImageRecord:
    """An image with its captions, its split, if known, its source, and the file of its first caption."""

    image: str
    split: str | None
    captions: list[CaptionRecord] = field(default_factory=list)
    source: str = ""
    file: str = ""


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
            "add images, or lower --val and --test, to 0 for no such split"
        )
    drawn = [split for split, count in counts.items() for _ in range(count)]
    assigned = dict(zip_longest(names, drawn, fillvalue="train"))
    return [dataclasses.replace(record, split=assigned[record.image]) for record in images if record.image in assigned]


def split_by_lists(
    images: Sequence[ImageRecord], lists: Mapping[str, Sequence[str]], skipped: Sequence[str] = ()
) -> tuple[list[ImageRecord], list[Issue]]:
    """Assign images to splits by lists of names; unlisted images keep their split, if any.

    A name means an image as in `ImageNames`; it has more folders only if no other name ends in that of the image.
    One that is in two lists, or means no image, several, or one of `skipped`, without a valid caption, is an issue.
    """
    valid = dict.fromkeys(record.image for record in images)
    names = [*skipped, *valid]
    known = ImageNames(names)
    assigned: dict[str, str] = {}
    issues = []
    for split, listed in lists.items():
        for number, name in enumerate(listed, 1):
            line = f"list of {split}, image {number}"
            matches = [names[place] for place in known.places(name)]
            if matches and len(name) > len(matches[0]):
                matches += [names[place] for place in known.ending_in(matches[0])]
            if not matches:
                issues.append(Issue(line, f"{name:.80}: no image of this name in the caption files"))
            elif len(matches) > 1:
                issues.append(Issue(line, f"{name:.80}: ambiguous name: matches {matches[0]:.80} or {matches[1]:.80}"))
            elif matches[0] not in valid:
                issues.append(Issue(line, f"{name:.80}: its captions are skipped"))
            elif assigned.setdefault(matches[0], split) != split:
                issues.append(Issue(line, f"{name:.80}: is also in the list of {assigned[matches[0]]}"))
    return [dataclasses.replace(record, split=assigned.get(record.image, record.split)) for record in images], issues


def by_source(images: Iterable[ImageRecord]) -> dict[str, list[ImageRecord]]:
    """Group images by source, in order of first occurrence."""
    sources: dict[str, list[ImageRecord]] = {}
    for record in images:
        sources.setdefault(record.source, []).append(record)
    return sources


def split_remaining(
    images: Sequence[ImageRecord], options: Prepare, usable: Container[str] | None = None, unused: str = ""
) -> list[ImageRecord]:
    """Split sources at random, if their caption file has no split for them: each, and those of few images together.

    What is too small for random splits stays in train if there are other images; else the error ends in `unused`.
    """
    fractions = {"val": options.val, "test": options.test}
    smallest = min((fraction for fraction in fractions.values() if fraction), default=1.0)
    groups: dict[str, list[ImageRecord]] = {}
    with_splits = {(record.source, record.file) for record in images if record.split}
    without = [record for record in images if (record.source, record.file) not in with_splits]
    for source, members in by_source(without).items():
        groups.setdefault(source if smallest * len(members) >= 2 else "", []).extend(members)
    drawn: dict[str, ImageRecord] = {}
    for members in groups.values():
        try:
            split = split_randomly(members, fractions, options.seed, usable)
        except DataError as error:
            if len(members) == len(images):
                raise DataError(f"{error}{unused}") from error
            split = [dataclasses.replace(record, split="train") for record in members]
        drawn |= {record.image: record for record in split}
    return [drawn.get(record.image, record) for record in images]


def group_by_split(images: Iterable[ImageRecord]) -> dict[str, list[ImageRecord]]:
    """Return the images of each split: train, val, test, then others by name; images without a split are dropped."""
    splits: dict[str, list[ImageRecord]] = {}
    for record in images:
        if record.split is not None:
            splits.setdefault(record.split, []).append(record)
    known = [name for name in ("train", "val", "test") if name in splits]
    return {name: splits[name] for name in (*known, *sorted(splits.keys() - set(known)))}
