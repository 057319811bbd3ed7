"""Merge prepared data sets: all shards of one, or several complete data sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import captioner
from captioner.data.concatenated import ConcatenatedFeatures
from captioner.data.corpus import Features
from captioner.data.prepared import SEAL, write_prepared
from captioner.data.splits import ImageRecord
from captioner.data.summary import duplicates_between, summarize
from captioner.errors import DataError, MergeError, UsageError
from captioner.preparation.assemble import assemble
from captioner.preparation.encode import ImageFeatures
from captioner.preparation.image_records import SplitRecords
from captioner.preparation.merge_checks import problems_of, repeated_paths
from captioner.preparation.merge_inputs import MergeInput, read_input
from captioner.preparation.prepare import Prepared
from captioner.storage.atomic import remove_temporary_files
from captioner.storage.files import check_output

SUMMED = ("skipped", "omitted", "missing", "unreadable")
"""Counts of complete data sets that are added."""
LEFT_OUT = ("missing", "unreadable")
"""Counts of shards that are added; the others describe the caption files, which are the same for all shards."""


class MergeProgress(NamedTuple):
    """Progress: `done` of `total` data sets are read."""

    done: int
    total: int


def merge(paths: Sequence[Path], output: Path, *, overwrite: bool = False) -> Iterator[MergeProgress | Prepared]:
    """Merge data sets into one, and yield events.

    All shards of a data set give exactly the data set that `prepare` writes without `shard`. Complete data sets are
    joined in the given order: images keep their split, and the vocabulary is built from the captions of all. Features
    are read and written by blocks of rows.

    Raises: MergeError with all problems of the data sets, UsageError, DataError.
    """
    remove_temporary_files(output)
    check_output(output, overwrite, "a data set", SEAL.matches)
    if output.exists() and any(path.exists() and output.samefile(path) for path in paths):
        raise UsageError(f"{output}: expected an output other than the data sets to merge, got one of them")
    problems, inputs = list(repeated_paths(paths)), []
    for done, path in enumerate(dict.fromkeys(paths), 1):
        try:
            inputs.append(read_input(path))
        except DataError as error:
            problems.append(str(error))
        yield MergeProgress(done, len(paths))
    problems += problems_of(inputs) if inputs else ()
    if len(paths) == 1 and inputs and inputs[0].shard is None:
        problems.append(f"{paths[0]}: expected at least two data sets, or all shards of one, got one complete data set")
    if problems:
        raise MergeError(problems)
    is_sharded = inputs[0].shard is not None
    inputs = sorted(inputs, key=_number) if is_sharded else inputs
    records = _shard_records(inputs) if is_sharded else SplitRecords(_by_split(inputs))
    corpus, counts = assemble(records, _features(inputs), inputs[0].options)
    about = _about(inputs, counts)
    check_output(output, overwrite, "a data set", SEAL.matches)  # again: reading may take long
    write_prepared(output, corpus, about)  # what was read has been validated
    summary = {**summarize(corpus), "counts": about["counts"]}
    if not is_sharded:
        summary["between_files"] = duplicates_between(_groups(inputs))
        summary["unknown_words"] = sum(one.unknown_words for one in inputs)
    yield Prepared(output, summary)


def _number(one: MergeInput) -> int:
    return 0 if one.shard is None else one.shard.shard.number


def _by_split(inputs: Iterable[MergeInput]) -> dict[str, list[ImageRecord]]:
    splits: dict[str, list[ImageRecord]] = {}
    for one in inputs:
        for name, images in one.images.items():
            splits.setdefault(name, []).extend(images)
    return splits


def _shard_records(inputs: Sequence[MergeInput]) -> SplitRecords:
    """Rebuild the records of the whole from all its shards.

    Splits at random depend on the names of all images, and on which of them have features: they are made again.
    """
    numbered: list[tuple[int, ImageRecord]] = []
    random_splits = False
    for one in inputs:
        if one.shard is None:
            continue
        random_splits = one.shard.random_splits
        for name, images in one.images.items():
            numbered += zip(one.shard.positions[name].tolist(), images, strict=True)
        numbered += ((position, ImageRecord(image, None, 0)) for image, position in one.shard.left_out.items())
    if not random_splits:
        return SplitRecords(_by_split(inputs))
    return SplitRecords({}, unsplit=[image for _, image in sorted(numbered, key=lambda pair: pair[0])])


def _features(inputs: Sequence[MergeInput]) -> ImageFeatures:
    """Concatenate the features of all inputs, with the row of each image."""
    parts = [features for one in inputs for features in one.features.values()]
    regions: list[Features] = [regions for one in inputs for regions in one.regions.values()]
    names = chain.from_iterable(images for one in inputs for images in one.images.values())
    return ImageFeatures(
        features=ConcatenatedFeatures(parts),
        rows={image.image: row for row, image in enumerate(names)},
        encoder=inputs[0].encoder,
        dtype=parts[0].dtype,
        missing=0,
        regions=ConcatenatedFeatures(regions) if regions else None,
    )


def _about(inputs: Sequence[MergeInput], counts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of the merged data set: for shards, those that `prepare` writes for the whole."""
    first = inputs[0]
    if first.shard is not None:
        added = {name: sum(one.count(name) for one in inputs) for name in LEFT_OUT}
        counted = {**counts, **{name: first.count(name) for name in SUMMED}, **added}
        return {**{name: value for name, value in first.about.items() if name != "shard"}, "counts": counted}
    options = [one.about["options"] for one in inputs]
    same = {name: value for name, value in options[0].items() if all(one.get(name, ...) == value for one in options)}
    return {
        "made_by": f"captioner {captioner.__version__}",
        "sources": [source for one in inputs for source in _list(one.about.get("sources"))],
        "options": same,
        "counts": {**counts, **{name: sum(one.count(name) for one in inputs) for name in SUMMED}},
    }


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _groups(inputs: Iterable[MergeInput]) -> Iterator[tuple[str, list[str], Features]]:
    for one in inputs:
        for name, features in one.features.items():
            yield str(one.path), [image.image for image in one.images[name]], features
