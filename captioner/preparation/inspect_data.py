"""Looking at data sets without training: check, card and show."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.config.options import Prepare
from captioner.config.yaml_io import load
from captioner.data.corpus import Corpus
from captioner.data.cs231n import CAPTIONS, VOCAB
from captioner.data.prepared import SEAL
from captioner.data.summary import card
from captioner.errors import DataError, UsageError
from captioner.preparation.find_photos import Unreadable, find_all, is_below, missing_photos, photo_folder
from captioner.preparation.image_records import collect, telling
from captioner.preparation.load_corpus import build_corpus
from captioner.preparation.prepare import card_of


class Example(NamedTuple):
    """An image of a split, by its row and name, and what people said of it."""

    row: int
    image: str
    references: list[str]


def guess(source: str) -> list[str]:
    """The options of a config that read a data set: a prepared file, the assignment's folder, or the word scenes.

    Raises: UsageError when it is none of them.
    """
    kind = _kind(source) or (None if os.path.exists(source) else "prepared")
    if kind is None:
        raise UsageError(
            f"{source}: expected a file that `captioner prepare` wrote, a folder as in CS231n's assignment, or scenes; "
            "captions as they are can be checked with `captioner data check`"
        )
    return [f"data.source={kind}", *([] if kind == "scenes" else [f"data.root={source}"])]


def _kind(source: str) -> str | None:
    """The kind of a data set that is there, or None: captions that are none yet, or nothing."""
    if source == "scenes":
        return "scenes"
    if os.path.isdir(source):  # the assignment's, or one of photographs
        return "cs231n" if any(os.path.exists(os.path.join(source, name)) for name in (CAPTIONS, VOCAB)) else None
    return "prepared" if SEAL.is_on(source) else None


def check(sources: Sequence[str], lists: Sequence[str], options: Prepare) -> tuple[list[object], dict[str, Any]]:
    """All flaws of captions with their photographs, and their card; or the card of a data set that is whole.

    Raises: DataError for a data set that is not, UsageError for options that have no effect on it.
    """
    (first, *others) = sources
    if not others and _kind(first):
        fields = [field.name for field in dataclasses.fields(options)]
        given = [name for name in fields if getattr(options, name) != getattr(Prepare(), name)]
        if given or lists:
            option = given[0].replace("_", "-") if given else "list"
            raise UsageError(f"{first}: is a data set already, on which --{option} has no effect; leave it out")
        return [], card_of_corpus(build_corpus(load(None, guess(first))))
    collected = collect(sources, lists, options)
    folder = photo_folder(sources, options)
    missing: Sequence[Unreadable] = ()
    lost: Sequence[object] = ()
    if not options.features:
        try:
            lost = missing = missing_photos(collected, folder)
        except DataError as error:  # of none there is any: their captions are looked at all the same
            lost = [error]
    with telling(collected.flaws):
        told = card_of(collected, options, {one.image for one in missing})
    images = sum(split["images"] for split in told["splits"].values())
    told["counts"]["missing"] = len(missing) or (images if lost else 0)
    return [*collected.flaws, *lost], told


def card_of_corpus(corpus: Corpus) -> dict[str, Any]:
    """The card of a data set, with what was counted when it was prepared."""
    counts = corpus.about.get("counts")
    return {**card(corpus), **({"counts": counts} if _are_counts(counts) else {})}


def _are_counts(counts: object) -> bool:
    match counts:
        case {"different": int(), "min_count": int(), **others}:
            return all(isinstance(number, int) for number in others.values())
        case _:
            return False


def examples(corpus: Corpus, name: str, count: int, seed: int) -> list[Example]:
    """Some images of a split, drawn by a seed, in file order."""
    split = corpus.split(name)
    rows = np.random.default_rng(seed).permutation(split.features.shape[0])[:count]
    return [Example(row, split.image_ids[row], split.references(row, corpus.vocab)) for row in sorted(rows.tolist())]


def write_page(
    path: Path, corpus: Corpus, name: str, shown: Sequence[Example], images: Path | None, overwrite: bool
) -> int:
    """Write examples of a split as one HTML page that needs no other file; the number of pictures that are missing.

    Photographs are those below the folder `images`. A data set may come from anybody, so neither the folder that it
    names nor a path out of the given one is followed: the page may be shared.

    Raises: UsageError when the file exists, CaptionerError when it cannot be written.
    """
    from captioner.images.html_page import Entry, write

    split = corpus.split(name)
    photos: dict[str, Path | None] = {}
    if images is not None and split.picture is None:
        found = find_all(images, [one for s in corpus.splits.values() for one in s.image_ids])
        photos = {name: path if path and is_below(images, path) else None for name, path in found.items()}
    entries = []
    for example in shown:
        picture = photos.get(example.image) if split.picture is None else split.picture(example.row)
        entries.append(Entry(example.image, picture, example.references))
    write(path, entries, overwrite)
    return sum(entry.picture is None for entry in entries)
