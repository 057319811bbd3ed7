"""Captions from files -> images by split, with every flaw told: how `captioner prepare` and `data check` begin."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from captioner.config.options import Prepare
from captioner.data.prepared import check_names, check_texts
from captioner.data.readers import CaptionRecord, Columns, Issue, read, read_list, split_name
from captioner.data.splits import ImageRecord, by_split, draw, gather, listed
from captioner.errors import DataError, UsageError
from captioner.printable import quoted
from captioner.text.tokenizer import tokenize
from captioner.text.vocabulary import SPECIAL

LONGEST_TEXT = 2000


@dataclass
class Collected:
    """The images of every split, the flaws found on the way, and the images that no split takes.

    Where splits were drawn, `undrawn` has the images as they were before.
    """

    splits: dict[str, list[ImageRecord]]
    flaws: list[Issue] = field(default_factory=list)
    left_out: int = 0
    undrawn: list[ImageRecord] = field(default_factory=list)


def collect(sources: Sequence[str], lists: Sequence[str], options: Prepare, strict: bool = False) -> Collected:
    """Read captions, and put their images into splits: by lists, or as the files say, or drawn.

    A source is FILE, or SPLIT=FILE where all its captions are of one split; a list is SPLIT=FILE.

    Raises: DataError for a file that cannot be read, for what a data set cannot hold, or with `strict` for the first
    flaw; UsageError.
    """
    flaws: list[Issue] = []
    with telling(flaws):
        return _collect(sources, lists, options, strict, flaws)


@contextmanager
def telling(flaws: Sequence[Issue]) -> Iterator[None]:
    """Whatever ends the work, the flaws that were found before are told with it."""
    try:
        yield
    except DataError as error:
        if not flaws:
            raise
        many = f"{len(flaws):,} flaws, the first" if len(flaws) > 1 else "a flaw"
        raise DataError(f"{error}; before that, {many}: {flaws[0]}") from error


def among(collected: Collected, usable: Container[str], options: Prepare) -> dict[str, list[ImageRecord]]:
    """The splits of the images that can be used; where splits are drawn, they are drawn among these alone.

    Raises: DataError when nothing is left to train on.
    """
    images: Iterable[ImageRecord] = (
        draw(collected.undrawn, _shares(options), options.seed, usable)
        if collected.undrawn
        else (one for images in collected.splits.values() for one in images if one.image in usable)
    )
    splits = dict(by_split(images))
    if "train" not in splits:
        raise DataError("expected images in the split train, got none whose photograph can be read")
    return splits


def _shares(options: Prepare) -> dict[str, float]:
    return {"val": options.val, "test": options.test}


def _collect(
    sources: Sequence[str], lists: Sequence[str], options: Prepare, strict: bool, flaws: list[Issue]
) -> Collected:
    columns = Columns(options.image_column, options.caption_column, options.split_column)
    undrawn: list[ImageRecord] = []

    def note(flaw: Issue) -> None:
        if strict:
            raise DataError(f"{flaw}; without --strict it is skipped and counted")
        flaws.append(flaw)

    def sift(told: Iterable[CaptionRecord | Issue]) -> Iterator[CaptionRecord]:
        for one in map(_checked, told):
            if isinstance(one, CaptionRecord):
                yield one
            else:
                note(one)

    told = (one for split, path in map(named_source, sources) for one in read(path, columns, split))
    images, clashes = gather(sift(told))
    for flaw in clashes:
        note(flaw)
    if not images:
        raise DataError(f"{', '.join(sources)}: expected captions, got none that can be used")
    if lists:
        names: dict[str, list[str]] = {}
        for split, path in map(_list, lists):
            names.setdefault(split, []).extend(read_list(path))
        images, clashes = listed(images, names)
        for flaw in clashes:
            note(flaw)
        if "train" not in names:
            images = [one if one.split else _in_train(one) for one in images]
    elif not any(one.split for one in images):
        undrawn = images
        images = draw(images, _shares(options), options.seed)
    splits, where = dict(by_split(images)), ", ".join(sources)
    if splits:
        check_names(list(splits), where)
    if "train" not in splits:
        raise DataError(f"{where}: expected images in the split train, got {', '.join(splits) or 'none'}")
    for name, taken in splits.items():
        check_texts([one.image for one in taken], f"{where}: {name} images")
        check_texts([told.text for one in taken for told in one.captions], f"{where}: {name} texts")
    return Collected(splits, flaws, sum(one.split is None for one in images), undrawn)


def words_of(told: CaptionRecord) -> list[str]:
    """The words of a caption: its own tokens, or those of its text."""
    return tokenize(told.text) if told.words is None else told.words.split()


def _checked(told: CaptionRecord | Issue) -> CaptionRecord | Issue:
    if isinstance(told, Issue):
        return told
    length = max(len(told.text), len(told.words or ""))
    if length > LONGEST_TEXT:
        return Issue(told.line, f"caption: expected at most {LONGEST_TEXT:,} characters, got {length:,}")
    words = words_of(told)
    if not words:
        return Issue(told.line, f"caption: expected words, got {quoted(told.text)}")
    if special := set(words) & set(SPECIAL):
        return Issue(told.line, f"caption: {min(special)} is a special token, not a word")
    return told


def _in_train(one: ImageRecord) -> ImageRecord:
    one.split = "train"
    return one


def named_source(source: str) -> tuple[str | None, Path]:
    """SPLIT=FILE, unless a file has that whole name."""
    split, equals, path = source.partition("=")
    if not equals or os.path.exists(source) or not split.isidentifier():
        return None, Path(source)
    return split_name(split), Path(path)


def _list(text: str) -> tuple[str, Path]:
    split, equals, path = text.partition("=")
    if not equals or not split.isidentifier():
        raise UsageError(f"--list {text}: expected SPLIT=FILE, such as val=val.txt")
    return split_name(split) or split, Path(path)
