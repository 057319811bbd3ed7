"""Read caption files into image records by split, with all issues, for `captioner prepare`.

Each image is in exactly one split, with all its captions.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from captioner.config.options import Prepare
from captioner.data.caption_readers import CaptionRecord, Columns, Issue, read_captions, read_list, split_name
from captioner.data.image_names import image_name
from captioner.data.prepared import check_names, check_texts
from captioner.data.vocabulary import SPECIAL, tokenize
from captioner.errors import DataError, UsageError, quoted
from captioner.files.user_files import enough_memory
from captioner.preparation.image_folders import ImageFolder, group_by_folder, named_in, parse_source, source_names
from captioner.preparation.splits import ImageRecord, by_source, group_by_split, split_by_lists, split_remaining


def group_by_image(captions: Iterable[CaptionRecord]) -> tuple[list[ImageRecord], list[Issue]]:
    """Group captions by image, in order of first occurrence; a second split of an image is an issue."""
    images: dict[str, ImageRecord] = {}
    issues = []
    for caption in captions:
        record = images.setdefault(
            caption.image, ImageRecord(caption.image, caption.split, source=caption.source or "", file=caption.file)
        )
        if caption.split == record.split:
            record.captions.append(caption)
        else:
            splits = f"expected split {record.split or 'none'} as before, got {caption.split or 'none'}"
            issues.append(Issue(caption.line, f"{caption.image:.80}: {splits}; skipped"))
    return list(images.values()), issues


MAX_TEXT = 2000
MAX_SOURCES = 20
"""A field `source` with more values is not the name of a collection, but for example the URL of the photograph."""


@dataclass
class SplitRecords:
    """Image records by split, the issues of the files, and the number of images in no split.

    If a source, or a file of it, has random splits, `unsplit` has all images, those of it without their splits.
    """

    splits: dict[str, list[ImageRecord]]
    issues: list[Issue] = field(default_factory=list)
    omitted: int = 0
    unsplit: list[ImageRecord] = field(default_factory=list)
    folders: Sequence[ImageFolder] = ()

    @property
    def images(self) -> list[ImageRecord]:
        """The images of all splits, in the order of the splits."""
        return list(chain(*self.splits.values()))


def read_records(sources: Sequence[str], lists: Sequence[str], options: Prepare) -> SplitRecords:
    """Read captions, and split their images by lists, by the splits of the files, or at random.

    A source is FILE, or SPLIT=FILE to put all its images into one split; a list is SPLIT=FILE.

    Raises: DataError for an unreadable file, or content that a data set cannot store; UsageError.
    """
    issues: list[Issue] = []
    try:
        with enough_memory(", ".join(sources)):
            return _read_records(sources, lists, options, issues)
    except DataError as error:
        if not issues:
            raise
        count = f"{len(issues):,} issues, the first" if len(issues) > 1 else "1 issue"
        raise DataError(f"{error}; also found {count}: {issues[0]}") from error


def _read_images(
    sources: Sequence[str], folders: Sequence[ImageFolder], columns: Columns, issues: list[Issue]
) -> Iterator[ImageRecord]:
    """Yield the images of each folder, named SOURCE/NAME if there are several.

    Raises: DataError for an image of the same source and name as one of another folder.
    """
    names = source_names(sources)
    captions: dict[str, list[CaptionRecord]] = {source: [] for source in sources}
    folder_of = {source: folder for folder in folders for source in folder.sources}
    for source, records in captions.items():
        folder, (split, path) = folder_of[source], parse_source(source)
        named = map(partial(named_in, folder.path, path), read_captions(path, columns, split))
        for found in named:
            if found.image is not None:
                folder.names[image_name(found.image)] = None
            read = _validate(found)
            if isinstance(read, CaptionRecord):
                records.append(read)
            elif read.kind:
                folder.counts[read.kind] += 1
            else:
                issues.append(read)
        is_named = len({record.source for record in records}) <= MAX_SOURCES
        for i, record in enumerate(records):
            records[i] = record._replace(source=(is_named and record.source) or names[source], file=source)
    seen: set[str] = set()
    for folder in folders:
        images, conflicts = group_by_image(chain.from_iterable(captions[source] for source in folder.sources))
        issues += conflicts
        for image in images:
            name = f"{image.source}/{image.image}" if len(folders) > 1 else image.image
            if name in seen:
                where = ", ".join(folder.sources)
                raise DataError(f"{where}: {name}: two images of this source and name; rename one of the sources")
            seen.add(name)
            folder.images[image.image] = name
            yield dataclasses.replace(image, image=name)


def _read_records(sources: Sequence[str], lists: Sequence[str], options: Prepare, issues: list[Issue]) -> SplitRecords:
    columns = Columns(options.image_column, options.caption_column, options.split_column)
    if columns.source in columns[:3]:  # a column of this name has another meaning
        columns = columns._replace(source="")
    unsplit: list[ImageRecord] = []
    folders = group_by_folder(sources, options)
    files = [os.path.realpath(path) for _, path in map(parse_source, sources)]
    if twice := [source for place, source in enumerate(sources) if files[place] in files[:place]]:
        raise UsageError(f"{twice[0]}: expected each caption file once, got it twice")
    images = list(chain(*by_source(_read_images(sources, folders, columns, issues)).values()))
    count = sum(folder.counts["uncorrected"] for folder in folders)
    if not images:
        got = f"{count:,} that no person corrected; correct some captions first" if count else "no valid one"
        raise DataError(f"{', '.join(sources)}: expected captions, got {got}")
    unused = f"; not counted: {count:,} rows as the model wrote them; correct more" if count else ""
    if all(split for split, _ in map(parse_source, sources)):
        _check_default(options, "split_column", because="every source defines its split")
    if not any(record.split for record in images):
        _check_default(options, "split_column", because="no caption has a split in this column")
    if lists:
        names: dict[str, list[str]] = {}
        for split, path in map(_parse_list, lists):
            names.setdefault(split, []).extend(read_list(path))
        skipped = [name for folder in folders for name in folder.names if name not in folder.images]
        images, conflicts = split_by_lists(images, names, skipped)
        issues += conflicts
        if "train" not in names:
            images = [dataclasses.replace(record, split=record.split or "train") for record in images]
    elif (drawn := split_remaining(images, options, unused=unused)) != images:
        unsplit, images = images, drawn
    splits, where = group_by_split(images), ", ".join(sources)
    if splits:
        check_names(list(splits), where)
    if "train" not in splits:
        raise DataError(f"{where}: expected images in the split train, got {', '.join(splits) or 'none'}")
    used = {record.file for record in images if record.split}
    for record in images:
        if record.file not in used:
            raise DataError(f"{record.file}: expected images in the lists, got none, such as {record.image}; add them")
    for name, members in splits.items():
        check_texts([record.image for record in members], f"{where}: {name} images")
        check_texts([caption.text for record in members for caption in record.captions], f"{where}: {name} texts")
    if not unsplit:
        _check_default(options, "val", "test", "seed", because="the sources or lists define the splits")
    return SplitRecords(splits, issues, sum(record.split is None for record in images), unsplit, folders)


def _check_default(options: Prepare, *names: str, because: str) -> None:
    """Raises: UsageError for an option without effect that differs from its default and 0."""
    for name in names:
        if getattr(options, name) not in (0, getattr(Prepare, name)):
            raise UsageError(f"--{name.replace('_', '-')}: has no effect: {because}; leave it out")


def caption_words(caption: CaptionRecord) -> list[str]:
    """Return the tokens of a caption: those of the file, or else of its tokenized text."""
    return tokenize(caption.text) if caption.words is None else caption.words.split()


def _validate(record: CaptionRecord | Issue) -> CaptionRecord | Issue:
    if isinstance(record, Issue):
        return record
    length = max(len(record.text), len(record.words or ""))
    if length > MAX_TEXT:
        return Issue(record.line, f"caption: expected at most {MAX_TEXT:,} characters, got {length:,}")
    words = caption_words(record)
    if not words:
        return Issue(record.line, f"caption: expected words, got {quoted(record.text)}")
    if special := set(words) & set(SPECIAL):
        return Issue(record.line, f"caption: {min(special)} is a special token, not a word")
    return record


def _parse_list(text: str) -> tuple[str, Path]:
    split, equals, path = text.partition("=")
    if not equals or not split.isidentifier():
        raise UsageError(f"--list {text}: expected SPLIT=FILE, such as val=val.txt")
    return split_name(split) or split, Path(path)
