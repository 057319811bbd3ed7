"""Looking at data sets without training: check, card and show."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.config import Prepare
from captioner.configio import load
from captioner.data.card import card
from captioner.data.corpus import Corpus, Split
from captioner.data.prepared import SEAL, read_meta
from captioner.errors import UsageError
from captioner.run.build import build_corpus
from captioner.run.collect import collect
from captioner.run.prepare import card_of, find_photo, missing_photos, photo_folder


class Example(NamedTuple):
    """An image of a split, by its row and name, and what people said of it."""

    row: int
    image: str
    references: list[str]


def guess(source: str) -> list[str]:
    """The options of a config that read a data set: a prepared file, the assignment's folder, or the word scenes.

    Raises: UsageError when it is none of them.
    """
    if source == "scenes":
        return ["data.source=scenes"]
    if os.path.isdir(source):
        return ["data.source=cs231n", f"data.root={source}"]
    if SEAL.is_on(source) or not os.path.exists(source):
        return ["data.source=prepared", f"data.root={source}"]
    raise UsageError(
        f"{source}: expected a file that `captioner prepare` wrote, a folder as in CS231n's assignment, or scenes; "
        "captions as they are can be checked with `captioner data check`"
    )


def check(sources: Sequence[str], lists: Sequence[str], options: Prepare) -> tuple[list[object], dict[str, Any]]:
    """All flaws of captions with their photographs, and their card; or the card of a data set that is whole.

    Raises: DataError for a data set that is not.
    """
    (first, *others) = sources
    if not others and (first == "scenes" or os.path.isdir(first) or SEAL.is_on(first)):
        return [], card_of_corpus(build_corpus(load(None, guess(first))), first)
    collected = collect(sources, lists, options)
    folder = photo_folder(sources, options)
    missing = [] if options.features else list(missing_photos(collected, folder))
    told = card_of(collected, options)
    told["counts"]["missing"] = len(missing)
    return [*collected.flaws, *missing], told


def card_of_corpus(corpus: Corpus, source: str | None) -> dict[str, Any]:
    """The card of a data set, with what was counted when it was prepared."""
    counts = _about(source).get("counts")
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
    path: Path, source: str | None, split: Split, shown: Sequence[Example], images: Path | None, overwrite: bool
) -> None:
    """Write examples as one HTML page that needs no other file.

    Raises: UsageError when the file exists, CaptionerError when it cannot be written.
    """
    from captioner.images.page import Entry, write

    folder = images or Path(str(_about(source).get("images", ".")))
    entries = []
    for example in shown:
        if split.picture is not None:
            picture: Any = split.picture(example.row)
        else:
            picture = find_photo(folder, example.image)
        entries.append(Entry(example.image, picture, example.references))
    write(path, entries, overwrite)


def _about(source: str | None) -> dict[str, Any]:
    """What a prepared file says of how it was made."""
    if source is None or not SEAL.is_on(source):
        return {}
    about: dict[str, Any] = read_meta(Path(source))["about"]
    return about
