"""Captions by image, and images by split: an image, with all its captions, is in one split alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

import numpy as np

from captioner.data.readers.records import CaptionRecord, Issue
from captioner.errors import DataError


@dataclass
class ImageRecord:
    """An image, the split that its file puts it into, its row in a matrix of features, and its captions."""

    image: str
    split: str | None
    row: int
    captions: list[CaptionRecord] = field(default_factory=list)


def gather(captions: Iterable[CaptionRecord]) -> tuple[list[ImageRecord], list[Issue]]:
    """Captions by image, in the order in which the images first come; an image without a row gets its place there.

    A caption that puts its image into a second split is a flaw.
    """
    images: dict[str, ImageRecord] = {}
    flaws = []
    for told in captions:
        row = len(images) if told.row is None else told.row
        pictured = images.setdefault(told.image, ImageRecord(told.image, told.split, row))
        if told.split == pictured.split:
            pictured.captions.append(told)
        else:
            flaws.append(
                Issue(
                    told.line,
                    f"{told.image:.80}: expected split {pictured.split or 'none'} as before, got "
                    f"{told.split or 'none'}; skipped",
                )
            )
    return list(images.values()), flaws


def draw(
    images: Sequence[ImageRecord], shares: Mapping[str, float], seed: int, usable: Container[str] | None = None
) -> list[ImageRecord]:
    """The images (that are `usable`, where that is known) with a split each, drawn: `train` gets what no share takes.

    Which images a split gets depends on the seed and on the names of all, not on their order. No split of a positive
    share stays empty while there are images.

    Raises: DataError when nothing would be left to train on.
    """
    every = sorted(one.image for one in images)
    order = (every[i] for i in np.random.default_rng(seed).permutation(len(every)))
    names = [name for name in order if usable is None or name in usable]
    counts = {split: max(1, round(share * len(names))) for split, share in shares.items() if share}
    if sum(counts.values()) >= len(names):
        wanted = " and ".join(f"{count:,} for {split}" for split, count in counts.items())
        raise DataError(
            f"expected images left for train beside {wanted}, got {len(names):,} in all; add some, or lower the shares"
        )
    drawn: dict[str, str] = {}
    first = 0
    for split, count in counts.items():
        drawn |= dict.fromkeys(names[first : first + count], split)
        first += count
    drawn |= dict.fromkeys(names[first:], "train")
    return [dataclasses.replace(one, split=drawn[one.image]) for one in images if one.image in drawn]


def listed(images: Sequence[ImageRecord], lists: Mapping[str, Sequence[str]]) -> tuple[list[ImageRecord], list[Issue]]:
    """The images with the splits that lists of names give them; images in none keep their own, or none.

    Names match whole, or without their folders. A name in two lists, or of no image or several, is a flaw.
    """
    whole = {one.image: [one] for one in images}
    bare: dict[str, list[ImageRecord]] = {}
    for one in images:
        bare.setdefault(PurePath(one.image).name, []).append(one)
    given: dict[str, str] = {}
    flaws = []
    for split, names in lists.items():
        for number, name in enumerate(names, 1):
            line = f"list of {split}, image {number}"
            found = whole.get(name) or bare.get(PurePath(name).name, [])
            if not found:
                flaws.append(Issue(line, f"{name:.80}: has no caption"))
            elif len(found) > 1:
                both = f"{found[0].image:.80} or {found[1].image:.80}"
                flaws.append(Issue(line, f"{name:.80}: expected the name of one image, got that of {both}"))
            elif given.setdefault(found[0].image, split) != split:
                flaws.append(Issue(line, f"{name:.80}: is in the list of {given[found[0].image]}, too"))
    return [dataclasses.replace(one, split=given.get(one.image, one.split)) for one in images], flaws


def by_split(images: Iterable[ImageRecord]) -> Iterator[tuple[str, list[ImageRecord]]]:
    """Splits and their images: train, val and test first, then others by name; images without a split in none."""
    splits: dict[str, list[ImageRecord]] = {}
    for one in images:
        if one.split is not None:
            splits.setdefault(one.split, []).append(one)
    for name in sorted(splits, key=lambda name: (_ORDER.get(name, len(_ORDER)), name)):
        yield name, splits[name]


_ORDER = {name: place for place, name in enumerate(("train", "val", "test"))}
